/* The front end in C: log-mel images of one-second windows, and the kaiser_best resampler.
 *
 * Nothing here touches Python; the caller owns every array and has checked every number.
 */
#ifndef EDGEL3_FRONTEND_H
#define EDGEL3_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

/* The numbers of edgel3_onnx.spec.FrontEndSpec, and what follows from them. */
typedef struct {
    int sample_rate;   /* Hz */
    int n_fft;         /* samples, a power of two */
    int hop_length;    /* samples between STFT frames */
    int n_mels;
    int window_length; /* samples of one embedding window */
    int n_frames;      /* STFT frames of one window */
    int pad_left;      /* zeros that 'same' padding puts in front of a window */
    double amin;       /* floor under the mel magnitude */
    double top_db;     /* dB kept below the window's maximum */
} mel_spec;

/* Consecutive windows of one signal. Window k starts at sample k * hop_length - lead; outside the signal lie zeros. */
typedef struct {
    const float *audio;
    int64_t length;     /* samples of audio */
    int64_t lead;       /* zeros in front of the signal */
    int64_t hop_length; /* samples between windows */
    int64_t start;      /* first window */
    int64_t count;      /* windows wanted */
} mel_request;

typedef struct mel_plan mel_plan;

/* n_fft is 1024 or 2048; level is an index of frontend_level_name. NULL where memory runs out. */
mel_plan *mel_plan_create(const mel_spec *spec, int level);
void mel_plan_free(mel_plan *plan);

/* Writes count images of n_mels x n_frames float32. 0, or -1 where memory runs out. */
int mel_run(const mel_plan *plan, const mel_request *request, float *images);

/* The tables of one ratio, which any number of resamplers share. */
typedef struct kaiser_filter kaiser_filter;

/* ratio = new rate / old rate, at least 1 / 512. NULL where memory runs out. */
kaiser_filter *kaiser_filter_create(double ratio, int level);
void kaiser_filter_free(kaiser_filter *filter);

/* A signal on its way through a filter, which must outlive it. */
typedef struct resampler resampler;

/* NULL where memory runs out. */
resampler *resampler_create(const kaiser_filter *filter);
void resampler_free(resampler *state);

/* Takes a block and writes the output samples that are complete; returns how many. There are never more in all than
 * (int64_t)(samples so far * ratio). With last set, the signal ends with this block, zeros follow it, and exactly that
 * many are written in all. */
int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output);

/* Names of the SIMD levels that this machine has, from the slowest to the fastest; NULL after the last. */
const char *frontend_level_name(int index);

#endif
