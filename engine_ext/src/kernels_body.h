/* The kernels, written once. The including file gives
 *   TARGET (attribute of every function), KERNELS (the table to define), LEVEL_NAME,
 *   V of VL floats, LOAD, LOADU, STORE, SET1, ADD, SUB, MUL, DIV, MAX, FMA(a, b, c) = a * b + c, FNMA(a, b, c) = c - a * b,
 *   POWER_OF_TWO = the float whose bits are those of a vector moved left by the 23 of a mantissa,
 *   KEEP = makes a vector stay in a register for several multiply-adds,
 *   STREAM, STREAM_END (optional) = store of a vector that is a whole line past the caches, and the end of such stores,
 *   FIRST_ROWS, PART_ROWS, PART_COLS = rows of the first convolution whose sums fit the registers; the part of the tiles
 *   4x6 and 2x12 of taps for which they do,
 *   EACH_COUNT = applies a macro to 1, 2, ... MOST_TILES, the tiles for which the sums of two vectors do,
 *   BY_ELEMENT (optional) = multiply-adds take one lane of a vector as a factor.
 */
#include <math.h>

#include "compiler.h"
#include "kernels.h"

#define INLINE ALWAYS_INLINE TARGET

#include "taps_body.h"
#include "winograd_body.h"

const kernels KERNELS = {LEVEL_NAME, VL, tile, first, strip};
