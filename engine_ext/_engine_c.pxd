from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

cdef extern from "engine.h" nogil:
    enum:
        ENGINE_NO_MEMORY
        ENGINE_BAD_SIZE
        ENGINE_LINEAR
        ENGINE_RELU
        ENGINE_SILU
        ENGINE_TAPS
        ENGINE_WINOGRAD

    ctypedef struct layer:
        uint32_t in_channels
        uint32_t out_channels
        const float *weight
        const float *bias
        int activation
        uint32_t skip
        int pool

    ctypedef struct architecture:
        uint32_t rows
        uint32_t cols
        float scale
        float shift
        uint32_t layers
        const layer *layer

    ctypedef struct network:
        pass

    int network_create(network **to, const architecture *source, int method, int level)
    void network_free(network *net)
    size_t network_bytes(const network *net)

    ctypedef struct workspace:
        pass

    workspace *workspace_create(const network *net, size_t group, size_t threads)
    void workspace_free(workspace *space)

    ctypedef struct job:
        pass

    job *job_create(const network *net, workspace *space, const float *images, float *out, size_t n)
    void job_free(job *work)
    void job_work(job *work)

    const char *engine_level_name(int index)
