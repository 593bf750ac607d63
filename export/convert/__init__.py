"""Weights to graphs, and graphs to other graphs: what the weight store needs too."""
