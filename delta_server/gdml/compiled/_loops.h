/* The loops of _compiled.c, included once for each instruction set, with NAME(f) the name of f in it, and vec its vector
   of LANES doubles, ints of as many integers. */

/* e^−n for 0 ≤ n ≤ 700, to the last digit or two: −n = k ln 2 + r, a polynomial in r, k into the exponent. */
INLINE vec NAME(decay_of)(vec n)
{
    const double magic = 6755399441055744.0; /* 1.5 × 2^52: the nearest integer lands in the low bits */
    vec shifted = magic - n * 1.4426950408889634;
    vec k = shifted - magic;
    vec r = -n - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10;
    vec r2 = r * r, r4 = r2 * r2;
    vec low = (1.0 + r) + r2 * (0.5 + r * (1.0 / 6.0));
    vec middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + r2 * (1.0 / 720.0 + r * (1.0 / 5040.0));
    vec high = (1.0 / 40320.0 + r * (1.0 / 362880.0)) + r2 * (1.0 / 3628800.0 + r * (1.0 / 39916800.0));
    vec top = 1.0 / 479001600.0 + r * (1.0 / 6227020800.0);
    vec p = low + r4 * (middle + r4 * (high + r4 * top));
    ints bits = ((ints)shifted + 1023) << 52;
    return p * (vec)bits;
}

/* C[i, :] = Σ_k A[i, k] B_k for I rows, in W vectors of columns. */
INLINE void NAME(tile)(const int I, const int W, Py_ssize_t K, const double *A,
                       const double *const *B, Py_ssize_t column, double *const *C)
{
    vec sum[6][8];
    for (int i = 0; i < I; i++)
        for (int w = 0; w < W; w++)
            sum[i][w] = (vec){0.0};
    for (Py_ssize_t k = 0; k < K; k++) {
        vec b[8];
        for (int w = 0; w < W; w++)
            b[w] = *(const vec *)(B[k] + column + LANES * w);
        for (int i = 0; i < I; i++) {
            double a = A[i * K + k];
            for (int w = 0; w < W; w++)
                sum[i][w] += a * b[w];
        }
    }
    for (int i = 0; i < I; i++)
        for (int w = 0; w < W; w++)
            *(vec *)(C[i] + column + LANES * w) = sum[i][w];
}

/* The same for all of n (a multiple of LANES) columns, as wide as the registers allow. */
INLINE void NAME(strip)(const int I, Py_ssize_t K, const double *A,
                        const double *const *B, Py_ssize_t n, double *const *C)
{
    const int W = I == 1 ? 8 : I == 2 ? 4 : I == 3 ? 3 : 2;
    Py_ssize_t column = 0;
    for (; column + LANES * W <= n; column += LANES * W)
        NAME(tile)(I, W, K, A, B, column, C);
    for (; column + 2 * LANES <= n; column += 2 * LANES)
        NAME(tile)(I, 2, K, A, B, column, C);
    if (column < n)
        NAME(tile)(I, 1, K, A, B, column, C);
}

INLINE void NAME(multiply)(Py_ssize_t rows, Py_ssize_t K, const double *A,
                           const double *const *B, Py_ssize_t n, double *const *C)
{
    Py_ssize_t i = 0;
    for (; i + 6 <= rows; i += 6)
        NAME(strip)(6, K, A + i * K, B, n, C + i);
    switch (rows - i) {
    case 5: NAME(strip)(5, K, A + i * K, B, n, C + i); break;
    case 4: NAME(strip)(4, K, A + i * K, B, n, C + i); break;
    case 3: NAME(strip)(3, K, A + i * K, B, n, C + i); break;
    case 2: NAME(strip)(2, K, A + i * K, B, n, C + i); break;
    case 1: NAME(strip)(1, K, A + i * K, B, n, C + i); break;
    default: break;
    }
}

/* Adds Σ_c x_j[c] y_u[c] for J queries and U rows of y, `row` apart, of LANES training points (a pack) each: of both
   kinds of a pack, then of the next pack. One addition after the other, so that the result is the same whatever J and U. */
INLINE void NAME(dots)(const int U, const int J, Py_ssize_t n, const double *y, Py_ssize_t row,
                       const double *const *x, double *const *to, Py_ssize_t kind, Py_ssize_t pack)
{
    vec sum[8][6];
    for (int u = 0; u < U; u++)
        for (int j = 0; j < J; j++)
            sum[u][j] = *(vec *)(to[j] + u % 2 * kind + u / 2 * pack);
    for (Py_ssize_t c = 0; c < n; c++)
        for (int u = 0; u < U; u++) {
            vec a = *(const vec *)(y + u * row + LANES * c);
            for (int j = 0; j < J; j++)
                sum[u][j] += a * x[j][c];
        }
    for (int u = 0; u < U; u++)
        for (int j = 0; j < J; j++)
            *(vec *)(to[j] + u % 2 * kind + u / 2 * pack) = sum[u][j];
}

/* x̂·ŷ of T packs of training points from `pack` on, the block's own from `q` on, to the places of the tables' rows. */
INLINE void NAME(multiply_packs)(const int T, const Terms *t, const Space *s, const Irrep *irrep, Py_ssize_t pack,
                                 Py_ssize_t q, const double *query, Py_ssize_t batch)
{
    const int most = T == 1 ? 6 : T == 2 ? SUMS / 4 : 1;
    Py_ssize_t d = irrep->d, all = irrep->n, row = LANES * t->width, next = LANES * batch;
    for (Py_ssize_t i = 0; i < d; i++)
        for (Py_ssize_t c = 0; c < all; c += STRETCH) { /* stays in the cache for all queries */
            Py_ssize_t n = all - c < STRETCH ? all - c : STRETCH;
            const double *y = t->rows + LANES * (2 * pack * t->width + irrep->start + i * all + c);
            for (Py_ssize_t k = 0; k < batch * d;) {
                const double *x[6];
                double *to[6];
                int J = 0;
                for (; J < most && k < batch * d; J++, k++) {
                    x[J] = query + k / d * t->width + irrep->start + k % d * all + c;
                    to[J] = s->x + t->place[irrep->first + i * d + k % d] * s->lanes + LANES * (q * batch + k / d);
                }
                switch (J) {
                case 6: NAME(dots)(2 * T, LEAST(6, most), n, y, row, x, to, s->pairs, next); break;
                case 5: NAME(dots)(2 * T, LEAST(5, most), n, y, row, x, to, s->pairs, next); break;
                case 4: NAME(dots)(2 * T, LEAST(4, most), n, y, row, x, to, s->pairs, next); break;
                case 3: NAME(dots)(2 * T, LEAST(3, most), n, y, row, x, to, s->pairs, next); break;
                case 2: NAME(dots)(2 * T, LEAST(2, most), n, y, row, x, to, s->pairs, next); break;
                default: NAME(dots)(2 * T, 1, n, y, row, x, to, s->pairs, next); break;
                }
            }
        }
}

/* As many packs at once as keep the arithmetic units busy. */
INLINE void NAME(forward)(const Terms *t, const Space *s, Py_ssize_t pack, Py_ssize_t packs, const double *query,
                          Py_ssize_t batch)
{
    for (Py_ssize_t r = 0; r < t->n_irreps; r++) {
        Py_ssize_t q = 0;
        for (; batch * t->irreps[r].d == 1 && q + 4 <= packs; q += 4)
            NAME(multiply_packs)(4, t, s, t->irreps + r, pack + q, q, query, batch);
        for (; q + 2 <= packs; q += 2)
            NAME(multiply_packs)(2, t, s, t->irreps + r, pack + q, q, query, batch);
        if (q < packs)
            NAME(multiply_packs)(1, t, s, t->irreps + r, pack + q, q, query, batch);
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
            NAME(multiply)(nb, kb, B, s->in, lanes, s->out);
        }
    for (Py_ssize_t k = 0; k < ka; k++)
        s->in[k] = s->y + k * nb * lanes;
    for (Py_ssize_t g = 0; g < na; g++)
        s->out[g] = s->x + g * nb * lanes;
    NAME(multiply)(na, ka, A, s->in, nb * lanes, s->out);
}

/* ⟨x, P_g y⟩ → the coefficients of the rows in the gradient; energies and the query's own coefficient beside them. The
   Matérn kernel and its derivatives, of which sums/matern.py is the reference. */
INLINE void NAME(kernel)(const Terms *t, const Space *s, Py_ssize_t used)
{
    Py_ssize_t pairs = s->pairs, elements = t->a * t->b;
    double root = sqrt(5.0) / t->sigma, front = 5.0 / (3.0 * t->sigma * t->sigma), square = 5.0 / (t->sigma * t->sigma);
    int constrained = t->energy_weights != NULL;
    const vec zero = {0.0}, farthest = zero + 700.0;
    for (Py_ssize_t q = 0; q < used; q += LANES) {
        vec base = *(vec *)(s->base + q), centre = *(vec *)(s->centre + q), weight = *(vec *)(s->weight + q);
        vec energy = {0.0}, pull = {0.0};
        for (Py_ssize_t g = 0; g < elements; g++) {
            vec *x = (vec *)(s->x + g * s->lanes + q), *w = (vec *)(s->x + g * s->lanes + pairs + q);
            vec n = SMALLER(ROOT(LARGER(base - 2.0 * *x, zero)) * root, farthest);
            vec slope = *w - centre, fall = NAME(decay_of)(n), decay = fall * front;
            vec bell = (1.0 + n) * decay, force = slope * decay * square;
            energy += slope * bell;
            if (constrained) {
                force += bell * weight;
                energy += (1.0 + n + n * n * (1.0 / 3.0)) * fall * weight;
            }
            pull += force;
            *x = -force;
            *w = -bell;
        }
        *(vec *)(s->energy + q) = energy;
        *(vec *)(s->pull + q) = pull;
    }
}

/* Sum over the lanes of a vector, in quarters. */
INLINE v4 NAME(quarters)(vec a)
{
    v4 sum = {0.0};
    for (int l = 0; l < LANES; l += 4)
        sum += *(v4 *)((double *)&a + l);
    return sum;
}

/* Sums over the lanes of four vectors. */
INLINE v4 NAME(sums)(v4 a, v4 b, v4 c, v4 d)
{
    v4 ab = SHUFFLE(a, b, 0, 4, 2, 6) + SHUFFLE(a, b, 1, 5, 3, 7);
    v4 cd = SHUFFLE(c, d, 0, 4, 2, 6) + SHUFFLE(c, d, 1, 5, 3, 7);
    return SHUFFLE(ab, cd, 0, 1, 4, 5) + SHUFFLE(ab, cd, 2, 3, 6, 7);
}

INLINE double NAME(total)(v4 a) { return a[0] + a[1] + a[2] + a[3]; }

/* C entries of the gradient of J queries, from the k-th on: what the block's points add to them. */
INLINE void NAME(pull)(const int J, const int C, const Terms *t, const Space *s, const Irrep *irrep, Py_ssize_t pack,
                       Py_ssize_t packs, Py_ssize_t k, Py_ssize_t c, double *gradient, Py_ssize_t batch)
{
    Py_ssize_t d = irrep->d, n = irrep->n;
    vec sum[6][8];
    for (int j = 0; j < J; j++)
        for (int e = 0; e < C; e++)
            sum[j][e] = (vec){0.0};
    for (Py_ssize_t i = 0; i < d; i++) {
        const double *y = t->rows + LANES * (2 * pack * t->width + irrep->start + i * n + c), *f[6];
        for (int j = 0; j < J; j++)
            f[j] = s->x + t->place[irrep->first + i * d + (k + j) % d] * s->lanes + LANES * ((k + j) / d);
        for (Py_ssize_t q = 0; q < packs; q++)
            for (int kind = 0; kind < 2; kind++, y += LANES * t->width) {
                vec a[6];
                for (int j = 0; j < J; j++)
                    a[j] = *(const vec *)(f[j] + kind * s->pairs + LANES * q * batch);
                for (int e = 0; e < C; e++) {
                    vec b = *(const vec *)(y + LANES * e);
                    for (int j = 0; j < J; j++)
                        sum[j][e] += a[j] * b;
                }
            }
    }
    for (int j = 0; j < J; j++) {
        double *to = gradient + (k + j) / d * t->width + irrep->start + (k + j) % d * n + c;
        for (int e = 0; e + 4 <= C; e += 4)
            *(v4 *)(to + e) += NAME(sums)(NAME(quarters)(sum[j][e]), NAME(quarters)(sum[j][e + 1]),
                                           NAME(quarters)(sum[j][e + 2]), NAME(quarters)(sum[j][e + 3]));
        for (int e = C / 4 * 4; e < C; e++)
            to[e] += NAME(total)(NAME(quarters)(sum[j][e]));
    }
}

/* All queries, C entries. */
INLINE void NAME(pull_column)(const int C, const Terms *t, const Space *s, const Irrep *irrep, Py_ssize_t pack,
                              Py_ssize_t packs, Py_ssize_t c, double *gradient, Py_ssize_t batch)
{
    const int most = SUMS / 4;
    Py_ssize_t left = batch * irrep->d;
    while (left) {
        int J = left == most + 1 ? (most + 1) / 2 : LEAST(left, most); /* not one alone at the end */
        Py_ssize_t k = batch * irrep->d - left;
        switch (J) {
        case 6: NAME(pull)(LEAST(6, most), C, t, s, irrep, pack, packs, k, c, gradient, batch); break;
        case 5: NAME(pull)(LEAST(5, most), C, t, s, irrep, pack, packs, k, c, gradient, batch); break;
        case 4: NAME(pull)(LEAST(4, most), C, t, s, irrep, pack, packs, k, c, gradient, batch); break;
        case 3: NAME(pull)(3, C, t, s, irrep, pack, packs, k, c, gradient, batch); break;
        case 2: NAME(pull)(2, C, t, s, irrep, pack, packs, k, c, gradient, batch); break;
        default: NAME(pull)(1, C, t, s, irrep, pack, packs, k, c, gradient, batch); break;
        }
        left -= J;
    }
}

/* The block's part of the gradient. */
INLINE void NAME(backward)(const Terms *t, const Space *s, Py_ssize_t pack, Py_ssize_t packs, double *gradient,
                           Py_ssize_t batch)
{
    for (Py_ssize_t r = 0; r < t->n_irreps; r++) {
        const Irrep *irrep = t->irreps + r;
        Py_ssize_t c = 0, n = irrep->n;
        for (; batch * irrep->d == 1 && c + 8 <= n; c += 8)
            NAME(pull)(1, 8, t, s, irrep, pack, packs, 0, c, gradient, batch);
        for (; c + 4 <= n; c += 4)
            NAME(pull_column)(4, t, s, irrep, pack, packs, c, gradient, batch);
        switch (n - c) {
        case 3: NAME(pull_column)(3, t, s, irrep, pack, packs, c, gradient, batch); break;
        case 2: NAME(pull_column)(2, t, s, irrep, pack, packs, c, gradient, batch); break;
        case 1: NAME(pull_column)(1, t, s, irrep, pack, packs, c, gradient, batch); break;
        default: break;
        }
    }
}

static void NAME(contract)(const Terms *t, Space *s, Py_ssize_t start, Py_ssize_t stop, const double *query,
                           Py_ssize_t batch, double *energy, double *gradient)
{
    Py_ssize_t width = t->width;
    for (Py_ssize_t b = 0; b < batch; b++) {
        const double *x = query + b * width;
        Py_ssize_t c = 0;
        v4 sum = {0.0};
        for (; c + 4 <= width; c += 4)
            sum += *(const v4 *)(x + c) * *(const v4 *)(x + c);
        for (; c < width; c++)
            sum[0] += x[c] * x[c];
        s->norms[b] = NAME(total)(sum);
        s->own[b] = 0.0;
    }
    for (Py_ssize_t pack = start; pack < stop; pack += s->packs) {
        Py_ssize_t packs = stop - pack < s->packs ? stop - pack : s->packs;
        for (Py_ssize_t q = 0; q < packs * batch; q++) { /* a pack with a structure */
            vec *norm = (vec *)(t->norms + LANES * (pack + q / batch));
            ((vec *)s->base)[q] = s->norms[q % batch] + *norm;
            ((vec *)s->centre)[q] = *(vec *)(t->products + LANES * (pack + q / batch));
            ((vec *)s->weight)[q] = t->energy_weights ? *(vec *)(t->energy_weights + LANES * (pack + q / batch)) : (vec){0.0};
        }
        memset(s->x, 0, sizeof(double) * t->ra * t->rb * s->lanes);
        NAME(forward)(t, s, pack, packs, query, batch);
        NAME(transform)(s, t->a, t->ra, t->tat, t->b, t->rb, t->tbt);
        NAME(kernel)(t, s, LANES * packs * batch);
        for (Py_ssize_t q = 0; q < LANES * packs * batch; q++) {
            energy[q / LANES % batch] += s->energy[q];
            s->own[q / LANES % batch] += s->pull[q];
        }
        NAME(transform)(s, t->ra, t->a, t->ta, t->rb, t->b, t->tb);
        NAME(backward)(t, s, pack, packs, gradient, batch);
    }
    for (Py_ssize_t b = 0; b < batch; b++)
        for (Py_ssize_t c = 0; c < width; c++)
            gradient[b * width + c] += s->own[b] * query[b * width + c];
}

/* out[b, to] = x[b, from] times a matrix for each block of orbits; in and product: room for the rows of six orbits. */
static void NAME(turn)(const Turn *t, Py_ssize_t batch, const double *x, double *out, double *in, double *product)
{
    for (Py_ssize_t b = 0; b < batch; b++, x += t->width, out += t->width) {
        const int64_t *from = t->from, *to = t->to;
        const double *matrix = t->matrices;
        for (Py_ssize_t k = 0; k < t->n_blocks; k++) {
            Py_ssize_t orbits = t->blocks[2 * k], size = t->blocks[2 * k + 1], wide = (size + 7) / 8 * 8;
            for (Py_ssize_t i = 0; i < size; i++)
                t->rows[i] = matrix + i * wide;
            matrix += size * wide;
            for (Py_ssize_t left = orbits; left > 0; left -= 6) {
                Py_ssize_t n = LEAST(left, 6), entries = n * size;
                double *products[6];
                for (Py_ssize_t i = 0; i < n; i++)
                    products[i] = product + i * wide;
                for (Py_ssize_t e = 0; e < entries; e++)
                    in[e] = x[*from++];
                NAME(multiply)(n, size, in, t->rows, wide, products);
                for (Py_ssize_t i = 0; i < n; i++)
                    for (Py_ssize_t e = 0; e < size; e++)
                        out[*to++] = products[i][e];
            }
        }
    }
}
