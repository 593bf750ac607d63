"""Turn weights into ONNX graphs: from HDF5 directly, or through Keras and tf2onnx."""
