from libc.stdint cimport int64_t

cdef extern from "frontend.h" nogil:
    enum:
        FRONTEND_NO_MEMORY
        FRONTEND_BAD_SIZE

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

    int mel_plan_create(mel_plan **plan, const mel_spec *spec, int level)
    void mel_plan_free(mel_plan *plan)
    int mel_run(const mel_plan *plan, const mel_request *request, float *images, int64_t room)

    ctypedef struct resampler:
        pass

    ctypedef struct kaiser_filter:
        pass

    int kaiser_filter_create(kaiser_filter **filter, double ratio, int level)
    void kaiser_filter_free(kaiser_filter *filter)
    int kaiser_filter_reach(const kaiser_filter *filter)
    int resampler_create(resampler **state, const kaiser_filter *filter, double time, int64_t produced)
    int64_t resampler_received(const resampler *state)
    void resampler_free(resampler *state)
    int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output,
                              int64_t room)
    const char *frontend_level_name(int index)
