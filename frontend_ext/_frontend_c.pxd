from libc.stdint cimport int64_t

cdef extern from "frontend.h" nogil:
    ctypedef struct mel_spec:
        int sample_rate
        int n_fft
        int hop_length
        int n_mels
        int window_length
        int n_frames
        int pad_left
        double amin
        double top_db

    ctypedef struct mel_request:
        const float *audio
        int64_t length
        int64_t lead
        int64_t hop_length
        int64_t start
        int64_t count

    ctypedef struct mel_plan:
        pass

    mel_plan *mel_plan_create(const mel_spec *spec, int level)
    void mel_plan_free(mel_plan *plan)
    int mel_run(const mel_plan *plan, const mel_request *request, float *images)

    ctypedef struct resampler:
        pass

    ctypedef struct kaiser_filter:
        pass

    kaiser_filter *kaiser_filter_create(double ratio, int level)
    void kaiser_filter_free(kaiser_filter *filter)
    resampler *resampler_create(const kaiser_filter *filter)
    void resampler_free(resampler *state)
    int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output)
    const char *frontend_level_name(int index)
