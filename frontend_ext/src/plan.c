/* The tables of one front end, designed in double precision once. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846
#define MAX_WINDOW 1000000 /* samples, so that the numbers of one window are those of an int */

/* Edge index of the HTK mel bands, equally spaced in mels from 0 Hz to the Nyquist frequency, in Hz. */
static double mel_edge(const mel_spec *spec, int index)
{
    double top = 2595.0 * log10(1.0 + spec->sample_rate / 2.0 / 700.0); /* mels */
    return 700.0 * (pow(10.0, top * index / (spec->n_mels + 1) / 2595.0) - 1.0);
}

/* Weight of an FFT bin in band m: a triangle of unit area (Slaney's normalisation), at least 0. */
static double mel_weight(const mel_spec *spec, int m, int bin)
{
    double low = mel_edge(spec, m), centre = mel_edge(spec, m + 1), high = mel_edge(spec, m + 2);
    double hz = (double)spec->sample_rate * bin / spec->n_fft;
    double weight = fmin((hz - low) / (centre - low), (high - hz) / (high - centre));
    return fmax(weight, 0.0) * 2.0 / (high - low);
}

/* Bins of band m and their weights: split_bins gives four times the power, which the weights take back. */
static int fill_band(mel_plan *plan, int m, double *weights)
{
    int bins = plan->spec.n_fft / 2 + 1, length = 0;
    double hz_per_bin = (double)plan->spec.sample_rate / plan->spec.n_fft;
    int bin = (int)(mel_edge(&plan->spec, m) / hz_per_bin); /* the last one that may have weight 0 */
    while (bin < bins && mel_weight(&plan->spec, m, bin) <= 0.0 && bin * hz_per_bin < mel_edge(&plan->spec, m + 2))
        bin++;
    plan->band_first[m] = bin < bins ? bin : bins - 1;
    for (; bin < bins && mel_weight(&plan->spec, m, bin) > 0.0; bin++)
        weights[length++] = mel_weight(&plan->spec, m, bin) / 4.0;
    plan->band_length[m] = length;
    return length;
}

static void fill_turn(double *turn, double numerator, double denominator)
{
    turn[0] = cos(2.0 * PI * numerator / denominator);
    turn[1] = -sin(2.0 * PI * numerator / denominator);
}

static void fill_fft_tables(mel_plan *plan)
{
    int n = plan->spec.n_fft, radix = plan->tables.radix;
    for (int i = 0; i < n; i++)
        plan->taper[i] = 0.5 - 0.5 * cos(2.0 * PI * i / n);
    for (int q = 0; q < ROW; q++)
        for (int r = 1; r < radix; r++)
            fill_turn(plan->first + (q * (radix - 1) + r - 1) * 2, (double)q * r, radix * ROW);
    for (int q = 0; q < 8; q++)
        for (int r = 1; r < 8; r++)
            fill_turn(plan->second + (q * 7 + r - 1) * 2, q * r, ROW);
    for (int k = 0; k < n / 2; k++) {
        fill_turn(plan->split + 2 * k, k, n);
        plan->split[2 * k + 1] = -plan->split[2 * k + 1];
    }
}

/* Whether the tables, the work space and the kernels were made for these numbers. */
static int serves(const mel_spec *spec)
{
    return (spec->n_fft == 1024 || spec->n_fft == 2048) && spec->n_mels >= 1 && spec->n_mels <= spec->n_fft / 2 &&
           spec->sample_rate >= 1 && spec->window_length >= 1 && spec->window_length <= MAX_WINDOW &&
           spec->hop_length >= 1 && spec->hop_length <= MAX_WINDOW &&
           spec->n_frames == (spec->window_length + spec->hop_length - 1) / spec->hop_length && spec->pad_left >= 0 &&
           spec->pad_left < spec->n_fft && spec->amin >= 1e-100 && spec->amin <= 1.0 && spec->top_db >= 0.0;
}

int mel_plan_create(mel_plan **to, const mel_spec *spec, int level)
{
    int n = spec->n_fft, radix = n / 2 / ROW, weights = 0;
    mel_plan *plan;
    *to = NULL;
    if (!serves(spec) || !frontend_level(level))
        return FRONTEND_BAD_SIZE;
    plan = calloc(1, sizeof *plan);
    if (!plan)
        return FRONTEND_NO_MEMORY;
    plan->spec = *spec;
    plan->kernels = frontend_level(level);
    plan->taper = malloc(sizeof(double) * n);
    plan->first = malloc(sizeof(double) * ROW * (radix - 1) * 2);
    plan->second = malloc(sizeof(double) * 8 * 7 * 2);
    plan->split = malloc(sizeof(double) * n);
    plan->band_first = malloc(sizeof(int) * spec->n_mels);
    plan->band_length = malloc(sizeof(int) * spec->n_mels);
    plan->band_weights = malloc(sizeof(double) * (n + 2)); /* a bin lies in two bands at most */
    if (!plan->taper || !plan->first || !plan->second || !plan->split || !plan->band_first || !plan->band_length ||
        !plan->band_weights) {
        mel_plan_free(plan);
        return FRONTEND_NO_MEMORY;
    }
    plan->tables = (mel_tables){
        .n_mels = spec->n_mels,
        .radix = radix,
        .floor = spec->amin * spec->amin,
        .taper = plan->taper,
        .first = plan->first,
        .second = plan->second,
        .split = plan->split,
        .band_first = plan->band_first,
        .band_length = plan->band_length,
        .band_weights = plan->band_weights,
    };
    fill_fft_tables(plan);
    for (int m = 0; m < spec->n_mels; m++)
        weights += fill_band(plan, m, plan->band_weights + weights);
    *to = plan;
    return 0;
}

void mel_plan_free(mel_plan *plan)
{
    if (!plan)
        return;
    free(plan->taper);
    free(plan->first);
    free(plan->second);
    free(plan->split);
    free(plan->band_first);
    free(plan->band_length);
    free(plan->band_weights);
    free(plan);
}
