/* Descriptors and forces, for _compiled.c; included as _loops.h is, which has what it uses.

   Arrays are restricted: without it a compiler asks at run time how far apart they are, and rounds one way or another. */

/* Squared distances of all pairs or of those in ends, into x. */
INLINE void NAME(separate)(const Shape *m, const double *restrict r, double *restrict x)
{
    if (m->ends)
        for (Py_ssize_t k = 0; k < m->pairs; k++) {
            const double *p = r + 3 * (Py_ssize_t)m->ends[2 * k], *q = r + 3 * (Py_ssize_t)m->ends[2 * k + 1];
            double u = p[0] - q[0], v = p[1] - q[1], w = p[2] - q[2];
            x[k] = u * u + v * v + w * w;
        }
    else
        for (Py_ssize_t i = 1; i < m->n; i++) {
            double a = r[3 * i], b = r[3 * i + 1], c = r[3 * i + 2];
            for (Py_ssize_t j = 0; j < i; j++) {
                double u = a - r[3 * j], v = b - r[3 * j + 1], w = c - r[3 * j + 2];
                *x++ = u * u + v * v + w * w;
            }
        }
}

/* The same positions about their mean. */
INLINE void NAME(centre)(Py_ssize_t n, const double *restrict r, double *restrict centred)
{
    double mean[3] = {0.0};
    for (Py_ssize_t k = 0; k < 3 * n; k++)
        mean[k % 3] += r[k];
    for (Py_ssize_t k = 0; k < 3 * n; k++)
        centred[k] = r[k] - mean[k % 3] / (double)n;
}

/* x = s r^−p e^{−r/L} and −(dx/dr)/r, from squared distances in x. */
static void NAME(describe)(const Shape *m, const double *restrict r, Py_ssize_t batch, double *restrict x,
                           double *restrict slope, double *restrict centred)
{
    for (Py_ssize_t s = 0; s < batch; s++, r += 3 * m->n, x += m->pairs, slope += m->pairs, centred += 3 * m->n) {
        NAME(centre)(m->n, r, centred);
        NAME(separate)(m, centred, x);
        if (m->halves == 2 && m->decay == 0.0 && !m->scales) {
            for (Py_ssize_t k = 0; k < m->pairs; k++) {
                double inverse = 1.0 / sqrt(x[k]);
                x[k] = inverse;
                slope[k] = inverse * inverse * inverse;
            }
            continue;
        }
        for (Py_ssize_t k = 0; k < m->pairs; k += LANES) {
            Py_ssize_t left = m->pairs - k < LANES ? m->pairs - k : LANES;
            vec distance = (vec){0.0} + 1.0, scale = distance;
            for (Py_ssize_t l = 0; l < left; l++) {
                distance[l] = x[k + l];
                if (m->scales)
                    scale[l] = m->scales[k + l];
            }
            distance = ROOT(distance);
            vec inverse = 1.0 / distance, value = scale;
            for (int h = 2; h <= m->halves; h += 2)
                value *= inverse;
            if (m->halves % 2)
                value *= ROOT(inverse);
            if (m->decay > 0.0)
                value *= NAME(decay_of)(SMALLER(distance * m->decay, (vec){0.0} + 700.0));
            vec fall = value * (0.5 * m->halves * inverse + m->decay) * inverse;
            for (Py_ssize_t l = 0; l < left; l++) {
                x[k + l] = value[l];
                slope[k + l] = fall[l];
            }
        }
    }
}

/* Every pair pulls its atoms together by g times its slope, times what is between them. */
static void NAME(pull_together)(const Shape *m, const double *restrict r, const double *restrict slope,
                                const double *restrict g, Py_ssize_t batch, double *restrict f)
{
    for (Py_ssize_t s = 0; s < batch; s++, r += 3 * m->n, f += 3 * m->n, slope += m->pairs, g += m->pairs) {
        if (m->ends) {
            for (Py_ssize_t k = 0; k < m->pairs; k++) {
                Py_ssize_t i = 3 * (Py_ssize_t)m->ends[2 * k], j = 3 * (Py_ssize_t)m->ends[2 * k + 1];
                double t = slope[k] * g[k];
                for (int axis = 0; axis < 3; axis++) {
                    double u = t * (r[j + axis] - r[i + axis]);
                    f[i + axis] += u;
                    f[j + axis] -= u;
                }
            }
            continue;
        }
        const double *restrict here = slope, *restrict pull = g;
        for (Py_ssize_t i = 1; i < m->n; i++) {
            double a = r[3 * i], b = r[3 * i + 1], c = r[3 * i + 2], fa = 0.0, fb = 0.0, fc = 0.0;
            for (Py_ssize_t j = 0; j < i; j++) {
                double t = *here++ * *pull++;
                double u = t * (r[3 * j] - a), v = t * (r[3 * j + 1] - b), w = t * (r[3 * j + 2] - c);
                fa += u;
                fb += v;
                fc += w;
                f[3 * j] -= u;
                f[3 * j + 1] -= v;
                f[3 * j + 2] -= w;
            }
            f[3 * i] += fa;
            f[3 * i + 1] += fb;
            f[3 * i + 2] += fc;
        }
    }
}

/* Σ r ⊗ f, symmetric, for all forces act between pairs. */
static void NAME(strain)(Py_ssize_t n, const double *restrict r, const double *restrict f, Py_ssize_t batch,
                         double *restrict virial)
{
    for (Py_ssize_t s = 0; s < batch; s++, r += 3 * n, f += 3 * n, virial += 9)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b <= a; b++) {
                double one = 0.0, other = 0.0;
                for (Py_ssize_t i = 0; i < n; i++) {
                    one += r[3 * i + a] * f[3 * i + b];
                    other += r[3 * i + b] * f[3 * i + a];
                }
                virial[3 * a + b] = virial[3 * b + a] = 0.5 * (one + other);
            }
}
