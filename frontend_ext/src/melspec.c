/* From a signal to the log-mel images of its windows. */
#include "frontend.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

struct mel_plan {
    mel_spec spec;
    double *hann;    /* n_fft, periodic */
    double *cosines; /* n_fft / 2: cos(2 pi k / n_fft) */
    double *sines;   /* n_fft / 2 */
    double *mel;     /* (n_mels, n_fft / 2 + 1) */
};

static double mel_edge(const mel_spec *spec, int index)
{
    double top = 2595.0 * log10(1.0 + spec->sample_rate / 2.0 / 700.0);
    return 700.0 * (pow(10.0, top * index / (spec->n_mels + 1) / 2595.0) - 1.0); /* Hz */
}

mel_plan *mel_plan_create(const mel_spec *spec)
{
    int n = spec->n_fft, bins = n / 2 + 1;
    mel_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    plan->spec = *spec;
    plan->hann = malloc(sizeof(double) * n);
    plan->cosines = malloc(sizeof(double) * (n / 2));
    plan->sines = malloc(sizeof(double) * (n / 2));
    plan->mel = malloc(sizeof(double) * spec->n_mels * bins);
    if (!plan->hann || !plan->cosines || !plan->sines || !plan->mel) {
        mel_plan_free(plan);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        plan->hann[i] = 0.5 - 0.5 * cos(2.0 * PI * i / n);
    for (int i = 0; i < n / 2; i++) {
        plan->cosines[i] = cos(2.0 * PI * i / n);
        plan->sines[i] = -sin(2.0 * PI * i / n);
    }
    for (int m = 0; m < spec->n_mels; m++) {
        double low = mel_edge(spec, m), mid = mel_edge(spec, m + 1), high = mel_edge(spec, m + 2);
        for (int k = 0; k < bins; k++) {
            double hz = (double)spec->sample_rate * k / n;
            double weight = fmin((hz - low) / (mid - low), (high - hz) / (high - mid));
            plan->mel[m * bins + k] = fmax(weight, 0.0) * 2.0 / (high - low);
        }
    }
    return plan;
}

void mel_plan_free(mel_plan *plan)
{
    if (!plan)
        return;
    free(plan->hann);
    free(plan->cosines);
    free(plan->sines);
    free(plan->mel);
    free(plan);
}

/* In-place complex FFT, decimation in time. */
static void fft(const mel_plan *plan, double *re, double *im)
{
    int n = plan->spec.n_fft;
    for (int i = 1, j = 0; i < n; i++) {
        int bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            double t = re[i];
            re[i] = re[j];
            re[j] = t;
        }
    }
    for (int i = 0; i < n; i++)
        im[i] = 0.0;
    for (int size = 2; size <= n; size *= 2)
        for (int base = 0; base < n; base += size)
            for (int k = 0; k < size / 2; k++) {
                int a = base + k, b = a + size / 2;
                double wr = plan->cosines[k * (n / size)], wi = plan->sines[k * (n / size)];
                double tr = wr * re[b] - wi * im[b], ti = wr * im[b] + wi * re[b];
                re[b] = re[a] - tr;
                im[b] = im[a] - ti;
                re[a] += tr;
                im[a] += ti;
            }
}

int mel_run(const mel_plan *plan, const mel_request *request, float *images)
{
    const mel_spec *spec = &plan->spec;
    int n = spec->n_fft, bins = n / 2 + 1;
    double *re = malloc(sizeof(double) * n * 2), *im = re + n;
    if (!re)
        return -1;
    for (int64_t w = 0; w < request->count; w++) {
        float *image = images + w * spec->n_mels * spec->n_frames;
        int64_t first = (request->start + w) * request->hop_length - request->lead;
        float peak = -INFINITY;
        for (int t = 0; t < spec->n_frames; t++) {
            for (int i = 0; i < n; i++) {
                int64_t inside = (int64_t)t * spec->hop_length - spec->pad_left + i, at = first + inside;
                int zero = inside < 0 || inside >= spec->window_length || at < 0 || at >= request->length;
                re[i] = zero ? 0.0 : plan->hann[i] * request->audio[at];
            }
            fft(plan, re, im);
            for (int k = 0; k < bins; k++)
                re[k] = re[k] * re[k] + im[k] * im[k];
            for (int m = 0; m < spec->n_mels; m++) {
                double sum = 0.0;
                for (int k = 0; k < bins; k++)
                    sum += re[k] * plan->mel[m * bins + k];
                float value = (float)(10.0 * log10(fmax(sqrt(sum), spec->amin)));
                image[m * spec->n_frames + t] = value;
                peak = fmaxf(peak, value);
            }
        }
        for (int i = 0; i < spec->n_mels * spec->n_frames; i++)
            image[i] = fmaxf(image[i] - peak, (float)-spec->top_db);
    }
    free(re);
    return 0;
}
