"""The C front end as Python objects. Arguments are checked in edgel3_onnx.frontend, never here."""

from libc.stdint cimport int64_t

cimport _frontend_c as c


cdef class MelPlan:
    """The tables of one front end, made once; its methods may run in several threads at once."""

    cdef c.mel_plan *plan

    def __cinit__(self, spec):
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
        self.plan = c.mel_plan_create(&numbers)
        if self.plan is NULL:
            raise MemoryError

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
        request.audio = &audio[0]
        request.length = audio.shape[0]
        request.lead = lead
        request.hop_length = hop_length
        request.start = start
        request.count = images.shape[0]
        with nogil:
            status = c.mel_run(self.plan, &request, &images[0, 0, 0, 0])
        if status:
            raise MemoryError


cdef class KaiserResampler:
    """State of a kaiser_best resampling; one thread at a time."""

    cdef c.resampler *state

    def __cinit__(self, double ratio):
        self.state = c.resampler_create(ratio)
        if self.state is NULL:
            raise MemoryError

    def __dealloc__(self):
        c.resampler_free(self.state)

    def process(self, const float[::1] block, bint last, float[::1] output):
        """Writes complete output samples and returns their number; output must be long enough."""
        cdef const float *samples = &block[0] if block.shape[0] else NULL
        cdef float *target = &output[0]
        cdef int64_t written
        with nogil:
            written = c.resampler_process(self.state, samples, block.shape[0], last, target)
        return written
