/* The loops of _compiled.c, included once for each instruction set, with NAME(f) the name of f in it. */

/* e^−n for four 0 ≤ n ≤ 700, to the last digit or two: −n = k ln 2 + r, a polynomial in r, k into the exponent. */
INLINE v4 NAME(decay_of)(v4 n)
{
    const double magic = 6755399441055744.0; /* 1.5 × 2^52: the nearest integer lands in the low bits */
    v4 shifted = magic - n * 1.4426950408889634;
    v4 k = shifted - magic;
    v4 r = -n - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10;
    v4 r2 = r * r, r4 = r2 * r2;
    v4 low = (1.0 + r) + r2 * (0.5 + r * (1.0 / 6.0));
    v4 middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + r2 * (1.0 / 720.0 + r * (1.0 / 5040.0));
    v4 high = (1.0 / 40320.0 + r * (1.0 / 362880.0)) + r2 * (1.0 / 3628800.0 + r * (1.0 / 39916800.0));
    v4 top = 1.0 / 479001600.0 + r * (1.0 / 6227020800.0);
    v4 p = low + r4 * (middle + r4 * (high + r4 * top));
    i4 bits = ((i4)shifted + 1023) << 52;
    return p * (v4)bits;
}

/* Σ_c y_i[c] x_j[c] for 4 rows of y, as a vector for each of J of x, of n (a multiple of 4) entries. */
INLINE void NAME(dots)(const int J, const double *const *y, const double *const *x, Py_ssize_t n, v4 *out)
{
    v4 sum[4][3];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < J; j++)
            sum[i][j] = (v4){0.0};
    for (Py_ssize_t c = 0; c < n; c += 4)
        for (int i = 0; i < 4; i++) {
            v4 a = *(const v4 *)(y[i] + c);
            for (int j = 0; j < J; j++)
                sum[i][j] += a * *(const v4 *)(x[j] + c);
        }
    for (int j = 0; j < J; j++) { /* four sums over four lanes: a transpose, on the way */
        v4 a = sum[0][j], b = sum[1][j], c = sum[2][j], d = sum[3][j];
        v4 ab = SHUFFLE(a, b, 0, 4, 2, 6) + SHUFFLE(a, b, 1, 5, 3, 7);
        v4 cd = SHUFFLE(c, d, 0, 4, 2, 6) + SHUFFLE(c, d, 1, 5, 3, 7);
        out[j] = SHUFFLE(ab, cd, 0, 1, 4, 5) + SHUFFLE(ab, cd, 2, 3, 6, 7);
    }
}

/* C[i, :] (+)= Σ_k A[i, k] B_k for I rows, in 4 W columns. */
INLINE void NAME(tile)(const int I, const int W, const int add, Py_ssize_t K, const double *A, Py_ssize_t lda,
                       const double *const *B, Py_ssize_t column, double *const *C)
{
    v4 sum[6][8];
    for (int i = 0; i < I; i++)
        for (int w = 0; w < W; w++)
            sum[i][w] = add ? *(v4 *)(C[i] + column + 4 * w) : (v4){0.0};
    for (Py_ssize_t k = 0; k < K; k++) {
        v4 b[8];
        for (int w = 0; w < W; w++)
            b[w] = *(const v4 *)(B[k] + column + 4 * w);
        for (int i = 0; i < I; i++) {
            double a = A[i * lda + k];
            for (int w = 0; w < W; w++)
                sum[i][w] += a * b[w];
        }
    }
    for (int i = 0; i < I; i++)
        for (int w = 0; w < W; w++)
            *(v4 *)(C[i] + column + 4 * w) = sum[i][w];
}

/* The same for all of n (a multiple of 4) columns, as wide as the registers allow. */
INLINE void NAME(strip)(const int I, const int add, Py_ssize_t K, const double *A, Py_ssize_t lda,
                        const double *const *B, Py_ssize_t n, double *const *C)
{
    const int W = I == 1 ? 8 : I == 2 ? 4 : I == 3 ? 3 : 2;
    Py_ssize_t column = 0;
    for (; column + 4 * W <= n; column += 4 * W)
        NAME(tile)(I, W, add, K, A, lda, B, column, C);
    for (; column + 8 <= n; column += 8)
        NAME(tile)(I, 2, add, K, A, lda, B, column, C);
    if (column < n)
        NAME(tile)(I, 1, add, K, A, lda, B, column, C);
}

INLINE void NAME(multiply)(const int add, Py_ssize_t rows, Py_ssize_t K, const double *A, Py_ssize_t lda,
                           const double *const *B, Py_ssize_t n, double *const *C)
{
    Py_ssize_t i = 0;
    for (; i + 6 <= rows; i += 6)
        NAME(strip)(6, add, K, A + i * lda, lda, B, n, C + i);
    switch (rows - i) {
    case 5: NAME(strip)(5, add, K, A + i * lda, lda, B, n, C + i); break;
    case 4: NAME(strip)(4, add, K, A + i * lda, lda, B, n, C + i); break;
    case 3: NAME(strip)(3, add, K, A + i * lda, lda, B, n, C + i); break;
    case 2: NAME(strip)(2, add, K, A + i * lda, lda, B, n, C + i); break;
    case 1: NAME(strip)(1, add, K, A + i * lda, lda, B, n, C + i); break;
    default: break;
    }
}

/* x̂·ŷ of the block, to the places of the tables' rows: few structures by dot products with four points at once, ... */
INLINE void NAME(forward)(const Terms *t, const Space *s, Py_ssize_t m0, Py_ssize_t points, const double *query,
                          Py_ssize_t batch)
{
    for (Py_ssize_t r = 0; r < t->n_irreps; r++) {
        const Irrep *irrep = t->irreps + r;
        Py_ssize_t d = irrep->d, n = irrep->n;
        const int64_t *place = t->place + irrep->first;
        for (Py_ssize_t m = 0; m < points; m += 4)
            for (Py_ssize_t row = 0; row < 2 * d; row++) {
                Py_ssize_t kind = row / d, i = row % d;
                const double *y[4], *x[3];
                double *to[3];
                for (Py_ssize_t k = 0; k < 4; k++) { /* beyond the last point: the last, into lanes that are not used */
                    Py_ssize_t point = m0 + (m + k < points ? m + k : points - 1);
                    y[k] = t->rows + (point * 2 + kind) * t->width + irrep->start + i * n;
                }
                int J = 0;
                for (Py_ssize_t q = 0; q < batch * d; q++) {
                    Py_ssize_t structure = q / d, j = q % d;
                    x[J] = query + structure * t->width + irrep->start + j * n;
                    to[J++] = s->x + place[i * d + j] * s->lanes + kind * s->pairs + m * batch + structure;
                    if (J < 3 && q + 1 < batch * d)
                        continue;
                    v4 found[3];
                    switch (J) {
                    case 3: NAME(dots)(3, y, x, n, found); break;
                    case 2: NAME(dots)(2, y, x, n, found); break;
                    default: NAME(dots)(1, y, x, n, found); break;
                    }
                    for (int p = 0; p < J; p++) {
                        if (batch == 1)
                            *(v4 *)to[p] = found[p];
                        else
                            for (Py_ssize_t k = 0; k < 4 && m + k < points; k++)
                                to[p][k * batch] = found[p][k];
                    }
                    J = 0;
                }
            }
    }
}

/* ... many (a multiple of 4) as a matrix product with the transposed queries (width, batch). */
INLINE void NAME(forward_many)(const Terms *t, const Space *s, Py_ssize_t m0, Py_ssize_t points,
                               const double *transposed, Py_ssize_t batch)
{
    for (Py_ssize_t r = 0; r < t->n_irreps; r++) {
        const Irrep *irrep = t->irreps + r;
        Py_ssize_t d = irrep->d, n = irrep->n;
        for (Py_ssize_t i = 0; i < d; i++)
            for (Py_ssize_t j = 0; j < d; j++) {
                double *to = s->x + t->place[irrep->first + i * d + j] * s->lanes;
                for (Py_ssize_t m = 0; m < 2 * points; m++)
                    s->out[m] = to + (m % 2) * s->pairs + m / 2 * batch;
                for (Py_ssize_t c = 0; c < n; c++)
                    s->in[c] = transposed + (irrep->start + j * n + c) * batch;
                NAME(multiply)(0, 2 * points, n, t->rows + m0 * 2 * t->width + irrep->start + i * n, t->width, s->in,
                               batch, s->out);
            }
    }
}

/* From representations to group elements (tables transposed) or back: x → x, through y. */
INLINE void NAME(transform)(const Space *s, Py_ssize_t na, Py_ssize_t ka, const double *A, Py_ssize_t nb, Py_ssize_t kb,
                      const double *B)
{
    Py_ssize_t lanes = s->lanes;
    if (kb == 1 && nb == 1) /* one factor only: its table is 1 */
        memcpy(s->y, s->x, sizeof(double) * ka * lanes);
    else
        for (Py_ssize_t a = 0; a < ka; a++) {
            for (Py_ssize_t k = 0; k < kb; k++)
                s->in[k] = s->x + (a * kb + k) * lanes;
            for (Py_ssize_t g = 0; g < nb; g++)
                s->out[g] = s->y + (a * nb + g) * lanes;
            NAME(multiply)(0, nb, kb, B, kb, s->in, lanes, s->out);
        }
    for (Py_ssize_t k = 0; k < ka; k++)
        s->in[k] = s->y + k * nb * lanes;
    for (Py_ssize_t g = 0; g < na; g++)
        s->out[g] = s->x + g * nb * lanes;
    NAME(multiply)(0, na, ka, A, ka, s->in, nb * lanes, s->out);
}

/* ⟨x, P_g y⟩ → the coefficients of the rows in the gradient; energies and the query's own coefficient add up. */
INLINE void NAME(kernel)(const Terms *t, const Space *s)
{
    Py_ssize_t pairs = s->pairs, elements = t->a * t->b;
    double root = sqrt(5.0) / t->sigma, front = 5.0 / (3.0 * t->sigma * t->sigma), square = 5.0 / (t->sigma * t->sigma);
    int constrained = t->energy_weights != NULL;
    for (Py_ssize_t q = 0; q < pairs; q += 4) {
        v4 base = *(v4 *)(s->base + q), centre = *(v4 *)(s->centre + q), weight = *(v4 *)(s->weight + q);
        v4 energy = {0.0}, pull = {0.0};
        for (Py_ssize_t g = 0; g < elements; g++) {
            v4 *x = (v4 *)(s->x + g * s->lanes + q), *w = (v4 *)(s->x + g * s->lanes + pairs + q);
            v4 n = base - 2.0 * *x;
            for (int l = 0; l < 4; l++)
                n[l] = sqrt(n[l] > 0.0 ? n[l] : 0.0) * root;
            for (int l = 0; l < 4; l++)
                n[l] = n[l] < 700.0 ? n[l] : 700.0;
            v4 slope = *w - centre, fall = NAME(decay_of)(n), decay = fall * front;
            v4 bell = (1.0 + n) * decay, force = slope * decay * square;
            energy += slope * bell;
            if (constrained) {
                force += bell * weight;
                energy += (1.0 + n + n * n * (1.0 / 3.0)) * fall * weight;
            }
            pull += force;
            *x = -force;
            *w = -bell;
        }
        *(v4 *)(s->energy + q) = energy;
        *(v4 *)(s->pull + q) = pull;
    }
}

/* The block's part of the gradient's coefficients. */
INLINE void NAME(backward)(const Terms *t, const Space *s, Py_ssize_t m0, Py_ssize_t points, double *gradient,
                     Py_ssize_t batch)
{
    for (Py_ssize_t r = 0; r < t->n_irreps; r++) {
        const Irrep *irrep = t->irreps + r;
        Py_ssize_t d = irrep->d, n = irrep->n, K = points * 2 * d;
        const int64_t *place = t->place + irrep->first;
        for (Py_ssize_t row = 0; row < 2 * d; row++) {
            Py_ssize_t kind = row / d, i = row % d;
            const double *y = t->rows + (m0 * 2 + kind) * t->width + irrep->start + i * n;
            for (Py_ssize_t m = 0; m < points; m++)
                s->in[row * points + m] = y + m * 2 * t->width;
            for (Py_ssize_t j = 0; j < d; j++) {
                const double *from = s->x + place[i * d + j] * s->lanes + kind * s->pairs;
                for (Py_ssize_t structure = 0; structure < batch; structure++) {
                    double *to = s->factors + (structure * d + j) * K + row * points;
                    for (Py_ssize_t m = 0; m < points; m++)
                        to[m] = from[m * batch + structure];
                }
            }
        }
        for (Py_ssize_t structure = 0; structure < batch; structure++)
            for (Py_ssize_t j = 0; j < d; j++)
                s->out[structure * d + j] = gradient + structure * t->width + irrep->start + j * n;
        NAME(multiply)(1, batch * d, K, s->factors, K, s->in, n, s->out);
    }
}

static void NAME(contract)(const Terms *t, Space *s, Py_ssize_t start, Py_ssize_t stop, const double *query,
                           const double *norms, Py_ssize_t batch, double *energy, double *pull, double *gradient)
{
    int many = batch >= MANY && batch % 4 == 0;
    for (Py_ssize_t c = 0; many && c < t->width; c++)
        for (Py_ssize_t structure = 0; structure < batch; structure++)
            s->transposed[c * batch + structure] = query[structure * t->width + c];
    for (Py_ssize_t m0 = start; m0 < stop; m0 += s->points) {
        Py_ssize_t points = stop - m0 < s->points ? stop - m0 : s->points;
        for (Py_ssize_t q = 0; q < s->pairs; q++) { /* lanes that pad the block repeat its last pair, unused */
            Py_ssize_t m = q / batch < points ? q / batch : points - 1;
            s->base[q] = norms[q % batch] + t->norms[m0 + m];
            s->centre[q] = t->products[m0 + m];
            s->weight[q] = t->energy_weights ? t->energy_weights[m0 + m] : 0.0;
            s->energy[q] = s->pull[q] = 0.0;
        }
        memset(s->x, 0, sizeof(double) * t->ra * t->rb * s->lanes); /* some representations may not occur */
        if (many)
            NAME(forward_many)(t, s, m0, points, s->transposed, batch);
        else
            NAME(forward)(t, s, m0, points, query, batch);
        NAME(transform)(s, t->a, t->ra, t->tat, t->b, t->rb, t->tbt);
        NAME(kernel)(t, s);
        for (Py_ssize_t q = 0; q < points * batch; q++) {
            energy[q % batch] += s->energy[q];
            pull[q % batch] += s->pull[q];
        }
        NAME(transform)(s, t->ra, t->a, t->ta, t->rb, t->b, t->tb);
        NAME(backward)(t, s, m0, points, gradient, batch);
    }
}

/* Squared distances of all pairs or of those in ends, into x. */
INLINE void NAME(separate)(const Shape *m, const double *r, double *x)
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

/* x = s r^−p e^{−r/L} and −(dx/dr)/r, from squared distances in x. */
static void NAME(describe)(const Shape *m, const double *r, Py_ssize_t batch, double *x, double *slope)
{
    for (Py_ssize_t s = 0; s < batch; s++, r += 3 * m->n, x += m->pairs, slope += m->pairs) {
        NAME(separate)(m, r, x);
        if (m->halves == 2 && m->decay == 0.0 && !m->scales) {
            for (Py_ssize_t k = 0; k < m->pairs; k++) {
                double inverse = 1.0 / sqrt(x[k]);
                x[k] = inverse;
                slope[k] = inverse * inverse * inverse;
            }
            continue;
        }
        for (Py_ssize_t k = 0; k < m->pairs; k += 4) {
            Py_ssize_t left = m->pairs - k < 4 ? m->pairs - k : 4;
            v4 distance = {1.0, 1.0, 1.0, 1.0}, scale = distance;
            for (Py_ssize_t l = 0; l < left; l++) {
                distance[l] = sqrt(x[k + l]);
                if (m->scales)
                    scale[l] = m->scales[k + l];
            }
            v4 inverse = 1.0 / distance, value = scale;
            for (int h = 2; h <= m->halves; h += 2)
                value *= inverse;
            for (int l = 0; m->halves % 2 && l < 4; l++)
                value[l] *= sqrt(inverse[l]);
            if (m->decay > 0.0) {
                v4 n = distance * m->decay;
                for (int l = 0; l < 4; l++)
                    n[l] = n[l] < 700.0 ? n[l] : 700.0;
                value *= NAME(decay_of)(n);
            }
            v4 fall = value * (0.5 * m->halves * inverse + m->decay) * inverse;
            for (Py_ssize_t l = 0; l < left; l++) {
                x[k + l] = value[l];
                slope[k + l] = fall[l];
            }
        }
    }
}

/* Every pair pulls its atoms together by g times its slope, times what is between them. */
static void NAME(pull_together)(const Shape *m, const double *r, const double *slope, const double *g,
                                Py_ssize_t batch, double *f)
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
        const double *here = slope, *pull = g;
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
