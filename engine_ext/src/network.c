/* Making a network by one of the methods. */
#include <stdlib.h>

#include "network.h"

enum { MOST_SIZE = 1 << 12, MOST_LAYERS = 64 }; /* so that no product of sizes overflows */

static int checked(const architecture *from)
{
    if (from->rows < 1 || from->rows > MOST_SIZE || from->cols < 1 || from->cols > MOST_SIZE || from->layers < 2 ||
        from->layers > MOST_LAYERS)
        return 0;
    uint32_t channels = 1, rows[MOST_LAYERS], cols[MOST_LAYERS]; /* of each layer before pooling */
    uint32_t height = from->rows, width = from->cols;
    for (uint32_t k = 0; k < from->layers; ++k) {
        const layer *l = &from->layer[k];
        if (l->in_channels != channels || l->out_channels < 1 || l->out_channels > MOST_SIZE || height < 1 || width < 1)
            return 0;
        rows[k] = height;
        cols[k] = width;
        if (l->skip) {
            const layer *added = k >= l->skip ? &from->layer[k - l->skip] : NULL;
            if (!added || added->out_channels != l->out_channels || added->pool || rows[k - l->skip] != height ||
                cols[k - l->skip] != width)
                return 0;
        }
        channels = l->out_channels;
        height = l->pool ? height / 2 : height;
        width = l->pool ? width / 2 : width;
    }
    return !from->layer[from->layers - 1].pool;
}

int network_create(network **to, const architecture *from, int method, int level)
{
    const kernels *table = engine_level(level);
    if (!table || !checked(from))
        return ENGINE_BAD_SIZE;
    network *net = calloc(1, sizeof *net);
    if (!net)
        return ENGINE_NO_MEMORY;
    net->level = table;
    net->image_floats = (size_t)from->rows * from->cols;
    net->out_floats = from->layer[from->layers - 1].out_channels;
    const int status = method == ENGINE_TAPS ? taps_create(net, from) : winograd_create(net, from);
    if (status) {
        network_free(net);
        return status;
    }
    *to = net;
    return 0;
}

void network_free(network *net)
{
    if (!net)
        return;
    taps_free(net->taps);
    winograd_free(net->winograd);
    free(net->step);
    free(net);
}

size_t network_bytes(const network *net)
{
    return net->bytes;
}
