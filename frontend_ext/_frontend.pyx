"""The C front end as Python objects. Arguments are checked in edgel3_onnx.frontend; here and in C only their sizes."""

from libc.stdint cimport int64_t

cimport _frontend_c as c


cdef int64_t checked(int64_t status) except -1:
    if status == c.FRONTEND_NO_MEMORY:
        raise MemoryError
    if status < 0:
        raise ValueError("the C code of the front end was not built for these numbers")
    return status


def simd_levels():
    """Names of the SIMD levels that this machine has, from the slowest to the fastest."""
    names = []
    while c.frontend_level_name(len(names)) is not NULL:
        names.append(c.frontend_level_name(len(names)).decode())
    return names


cdef class MelPlan:
    """The tables of one front end; run may be called in several threads at once.

    level is an index of simd_levels().
    """

    cdef c.mel_plan *plan

    def __cinit__(self, spec, int level):
        cdef c.mel_spec numbers
        numbers.sample_rate = spec.sample_rate
        numbers.n_fft = spec.n_fft
        numbers.hop_length = spec.hop_length
        numbers.n_mels = spec.n_mels
        numbers.window_length = spec.window_length
        numbers.n_frames = spec.n_frames
        numbers.pad_left = spec.pad_left
        numbers.amin = spec.amin
        numbers.top_db = spec.top_db
        checked(c.mel_plan_create(&self.plan, &numbers, level))

    def __dealloc__(self):
        c.mel_plan_free(self.plan)

    def run(
        self,
        const float[::1] audio,
        float[:, :, :, ::1] images,
        int64_t lead,
        int64_t hop_length,
        int64_t start,
    ):
        cdef c.mel_request request
        cdef int status
        if not (audio.shape[0] and images.shape[0] and images.shape[2] and images.shape[3]):
            raise ValueError("an array is empty")
        request.audio = &audio[0]
        request.length = audio.shape[0]
        request.lead = lead
        request.hop_length = hop_length
        request.start = start
        request.count = images.shape[0]
        with nogil:
            status = c.mel_run(
                self.plan,
                &request,
                &images[0, 0, 0, 0],
                images.shape[0] * images.shape[1] * images.shape[2] * images.shape[3],
            )
        checked(status)


cdef class KaiserFilter:
    """The tables of kaiser_best for one ratio of sample rates; level is an index of simd_levels()."""

    cdef c.kaiser_filter *filter

    def __cinit__(self, double ratio, int level):
        checked(c.kaiser_filter_create(&self.filter, ratio, level))

    def __dealloc__(self):
        c.kaiser_filter_free(self.filter)

    @property
    def reach(self):
        """Input samples that an output reads on each side, at most."""
        return c.kaiser_filter_reach(self.filter)


cdef class KaiserResampler:
    """A signal on its way through a filter; one thread at a time.

    It begins with output number ``produced``, which lies at ``time``, in input samples.
    """

    cdef KaiserFilter filter
    cdef c.resampler *state

    def __cinit__(self, KaiserFilter filter not None, double time=0.0, int64_t produced=0):
        self.filter = filter
        checked(c.resampler_create(&self.state, filter.filter, time, produced))

    def __dealloc__(self):
        c.resampler_free(self.state)

    @property
    def received(self):
        """Inputs so far; before the first block, the number of the input sample that it must begin with."""
        return c.resampler_received(self.state)

    def process(self, const float[::1] block, bint last, float[::1] output):
        """Writes complete output samples and returns their number; frontend.h says how long output must be."""
        cdef const float *samples = &block[0] if block.shape[0] else NULL
        cdef float *target = &output[0] if output.shape[0] else NULL
        cdef int64_t written
        with nogil:
            written = c.resampler_process(self.state, samples, block.shape[0], last, target, output.shape[0])
        return checked(written)
