/* The front end in C: log-mel images of one-second windows, and the kaiser_best resampler.
 *
 * Nothing here touches Python; the caller owns every array and has checked what is in it.
 */
#ifndef EDGEL3_FRONTEND_H
#define EDGEL3_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRONTEND_NO_MEMORY = -1,
    FRONTEND_BAD_SIZE = -2, /* a number that this code was not built for, or an array that is too short */
};

/* The numbers of edgel3_onnx.spec.FrontEndSpec, and what follows from them. */
typedef struct {
    int sample_rate;   /* Hz */
    int n_fft;         /* samples, 1024 or 2048 */
    int hop_length;    /* samples between STFT frames */
    int n_mels;        /* at most n_fft / 2 */
    int window_length; /* samples of one embedding window */
    int n_frames;      /* STFT frames of one window */
    int pad_left;      /* zeros that 'same' padding puts in front of a window */
    double amin;       /* floor under the mel magnitude, at least 1e-100, whose square is a normal number */
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

/* Makes a plan at *plan; level is an index of frontend_level_name. A status, as of every function that returns int. */
int mel_plan_create(mel_plan **plan, const mel_spec *spec, int level);
void mel_plan_free(mel_plan *plan);

/* Writes count images of n_mels x n_frames float32; there is room for so many values. */
int mel_run(const mel_plan *plan, const mel_request *request, float *images, int64_t room);

/* The tables of one ratio, which any number of resamplers share. */
typedef struct kaiser_filter kaiser_filter;

/* ratio = new rate / old rate, from 1 / 512 to 512. */
int kaiser_filter_create(kaiser_filter **filter, double ratio, int level);
int kaiser_filter_reach(const kaiser_filter *filter); /* input samples that an output reads on each side, at most */
void kaiser_filter_free(kaiser_filter *filter);

/* A signal on its way through a filter, which must outlive it. */
typedef struct resampler resampler;

/* Begins with output number produced, whose time is that many input samples; both 0 for a signal from its start. */
int resampler_create(resampler **state, const kaiser_filter *filter, double time, int64_t produced);
/* Inputs so far; before the first block, the number of the input sample that it must begin with. */
int64_t resampler_received(const resampler *state);
void resampler_free(resampler *state);

/* Takes a block and writes the output samples that are complete; returns how many, or a status. There are never more in
 * all than (int64_t)(samples so far * ratio), for which there must be room. With last set, the signal ends with this
 * block, zeros follow it, and exactly that many are written in all. */
int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output, int64_t room);

/* Names of the SIMD levels that this machine has, from the slowest to the fastest; NULL after the last. */
const char *frontend_level_name(int index);

#endif
