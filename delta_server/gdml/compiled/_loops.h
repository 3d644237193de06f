/* The loops of _compiled.c, included once for each instruction set, with NAME(f) the name of f in it, and vec its vector
   of LANES doubles, ints of as many integers; ALL(a) is one of them that are all a. */

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

/* Σ_c x_j[c] y_u[c] for J queries and U of a block's sides, which are `row` apart from entry to entry; `more`: is added.
   One addition after the other, so that the result is the same whatever J and U. */
INLINE void NAME(dots)(const int U, const int J, Py_ssize_t n, const double *y, Py_ssize_t row, const double *const *x,
                       double *const *to, int more)
{
    vec sum[6][8];
    for (int j = 0; j < J; j++)
        for (int u = 0; u < U; u++)
            sum[j][u] = more ? *(const vec *)(to[j] + LANES * u) : (vec){0.0};
    for (Py_ssize_t c = 0; c < n; c++, y += row) {
        vec a[6];
        for (int j = 0; j < J; j++)
            a[j] = ALL(x[j][c]);
        for (int u = 0; u < U; u++) {
            vec b = *(const vec *)(y + LANES * u);
            for (int j = 0; j < J; j++)
                sum[j][u] += a[j] * b;
        }
    }
    for (int j = 0; j < J; j++)
        for (int u = 0; u < U; u++)
            *(vec *)(to[j] + LANES * u) = sum[j][u];
}

/* The same for all sides of a block. */
INLINE void NAME(all_sides)(const int J, Py_ssize_t sides, Py_ssize_t n, const double *y, const double *const *x, double **to,
                            int more)
{
    const int most = J == 1 ? 8 : J == 2 ? SUMS / 2 : J == 3 ? SUMS / 3 : SUMS / 6;
    Py_ssize_t left = sides, row = LANES * sides;
    while (left) {
        int U = LEAST(left, LEAST(most, 8));
        switch (U / 2) {
        case 4: NAME(dots)(LEAST(8, most), J, n, y, row, x, to, more); break;
        case 3: NAME(dots)(LEAST(6, most), J, n, y, row, x, to, more); break;
        case 2: NAME(dots)(LEAST(4, most), J, n, y, row, x, to, more); break;
        default: NAME(dots)(2, J, n, y, row, x, to, more); break;
        }
        y += LANES * U;
        for (int j = 0; j < J; j++)
            to[j] += LANES * U;
        left -= U;
    }
}

/* Where the elements ij of all queries are among the products of the factors' rows, i by i, and where the j begin in a row. */
INLINE void NAME(find)(const Terms *t, const Space *s, const Irrep *irrep, Py_ssize_t batch)
{
    double **spot = s->spots;
    const int64_t *place = t->place + irrep->first;
    for (Py_ssize_t i = 0; i < irrep->d; i++, place += irrep->d)
        for (Py_ssize_t b = 0; b < batch; b++)
            for (Py_ssize_t j = 0; j < irrep->d; j++)
                *spot++ = s->x + place[j] * s->lanes + LANES * s->sides * b;
    for (Py_ssize_t b = 0, k = 0; b < batch; b++)
        for (Py_ssize_t j = 0; j < irrep->d; j++)
            s->begins[k++] = b * t->width + irrep->start + j * irrep->n;
}

/* x̂·ŷ of a block's training points, to the places of the factors' rows. */
APART void NAME(forward)(const Terms *t, const Space *s, const double *rows, const double *query, Py_ssize_t batch)
{
    for (const Irrep *irrep = t->irreps; irrep < t->irreps + t->n_irreps; irrep++) {
        Py_ssize_t d = irrep->d, all = irrep->n;
        NAME(find)(t, s, irrep, batch);
        double **spot = s->spots;
        for (Py_ssize_t i = 0; i < d; i++, spot += batch * d)
            for (Py_ssize_t c = 0; c < all; c += STRETCH) { /* stays in the cache for all queries */
                Py_ssize_t n = LEAST(STRETCH, all - c);
                const double *y = rows + LANES * s->sides * (irrep->start + i * all + c);
                for (Py_ssize_t k = 0, J; k < batch * d; k += J) {
                    Py_ssize_t left = batch * d - k;
                    J = left == 4 ? 2 : LEAST(left, 3);
                    const double *x[3];
                    double *to[3];
                    for (int j = 0; j < J; j++) {
                        x[j] = query + s->begins[k + j] + c;
                        to[j] = spot[k + j];
                    }
                    switch (J) {
                    case 3: NAME(all_sides)(3, s->sides, n, y, x, to, c > 0); break;
                    case 2: NAME(all_sides)(2, s->sides, n, y, x, to, c > 0); break;
                    default: NAME(all_sides)(1, s->sides, n, y, x, to, c > 0); break;
                    }
                }
            }
    }
}

/* What is at s->y is the result now. */
INLINE void NAME(swap)(Space *s)
{
    double *x = s->x;
    s->x = s->y;
    s->y = x;
}

/* The matrices of a factor's characters, from its rows to (character, column) or back. The rows are `stride` blocks of n
   apart, and there are `outer` of them, `in` and `out` blocks apart. */
INLINE void NAME(matrices)(Space *s, const Factor *f, int back, Py_ssize_t outer, Py_ssize_t n)
{
    Py_ssize_t from = back ? f->order : f->rows, to = back ? f->rows : f->order;
    for (Py_ssize_t o = 0; o < outer; o++) {
        const double *x = s->x + o * from * n, *matrix = back ? f->back : f->there;
        double *y = s->y + o * to * n;
        for (Py_ssize_t kind = 0; kind < f->kinds; kind++) {
            Py_ssize_t K = back ? f->size : f->counts[kind], rows = back ? f->counts[kind] : f->size;
            for (Py_ssize_t k = 0; k < K; k++, x += n)
                s->in[k] = x;
            for (Py_ssize_t g = 0; g < rows; g++, y += n)
                s->out[g] = y;
            NAME(multiply)(rows, K, matrix, s->in, n, s->out);
            matrix += rows * K;
        }
    }
    NAME(swap)(s);
}

/* From representations to the columns of the characters' matrices, or back. */
APART void NAME(transform)(const Terms *t, Space *s, int back)
{
    if (back && !t->a.unit)
        NAME(matrices)(s, &t->a, 1, 1, t->b.order * s->lanes);
    if (!t->b.unit)
        NAME(matrices)(s, &t->b, back, t->a.rows, s->lanes);
    if (!back && !t->a.unit)
        NAME(matrices)(s, &t->a, 0, 1, t->b.order * s->lanes);
}

/* x_κ → Σ_κ (−1)^(bits that κ and ν share) x_κ, in place, for R of them (1, 2, 4 or 8). */
INLINE void NAME(few_signs)(const int R, vec *x)
{
    for (int h = 1; h < R; h *= 2)
        for (int i = 0; i < R; i++)
            if (!(i & h)) {
                vec sum = x[i] + x[i + h];
                x[i + h] = x[i] - x[i + h];
                x[i] = sum;
            }
}

/* The bits of κ from that of h = R on, of n (a power of 2). */
INLINE void NAME(high_signs)(const int R, vec *x, Py_ssize_t h, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i += R * h)
        for (vec *a = x + i; a < x + i + h; a++) {
            vec few[8];
            for (int r = 0; r < R; r++)
                few[r] = a[r * h];
            NAME(few_signs)(R, few);
            for (int r = 0; r < R; r++)
                a[r * h] = few[r];
        }
}

/* All bits from that of h on. */
INLINE void NAME(signs)(vec *x, Py_ssize_t h, Py_ssize_t n)
{
    for (; 8 * h <= n; h *= 8)
        NAME(high_signs)(8, x, h, n);
    for (; 4 * h <= n; h *= 4)
        NAME(high_signs)(4, x, h, n);
    for (; 2 * h <= n; h *= 2)
        NAME(high_signs)(2, x, h, n);
}

/* The R lowest of n, from the rows of s->x to the tile, or with `back` from there. */
INLINE void NAME(low_signs)(const int R, const Space *s, double *first, vec *tile, Py_ssize_t n, int back)
{
    for (Py_ssize_t k = 0; k < n; k += R) {
        vec few[8];
        for (int r = 0; r < R; r++)
            few[r] = back ? tile[k + r] : *(const vec *)(first + s->reach[k + r]);
        NAME(few_signs)(R, few);
        for (int r = 0; r < R; r++)
            if (back)
                *(vec *)(first + s->reach[k + r]) = few[r];
            else
                tile[k + r] = few[r];
    }
}

/* Both steps; they may follow each other either way. */
INLINE void NAME(signs_of_rows)(const Space *s, double *first, vec *tile, Py_ssize_t n, int back)
{
    if (back)
        NAME(signs)(tile, 8, n);
    switch (n) {
    case 1: NAME(low_signs)(1, s, first, tile, n, back); break;
    case 2: NAME(low_signs)(2, s, first, tile, n, back); break;
    case 4: NAME(low_signs)(4, s, first, tile, n, back); break;
    default: NAME(low_signs)(8, s, first, tile, n, back); break;
    }
    if (!back)
        NAME(signs)(tile, 8, n);
}

/* Columns of the characters' matrices → ⟨x, P_g y⟩ → the coefficients of the rows in the gradient, and back to the
   columns; energies and the query's own coefficient beside them. The Matérn kernel and its derivatives, of which
   sums/matern.py is the reference. */
APART void NAME(kernel)(const Terms *t, const Space *s, Py_ssize_t pack, Py_ssize_t b, Py_ssize_t q)
{
    const Py_ssize_t pairs = LANES * s->packs, lanes = s->lanes, kinds = t->a.kinds * t->b.kinds, row = t->b.order * lanes;
    const double root = sqrt(5.0) / t->sigma, front = 5.0 / (3.0 * t->sigma * t->sigma), square = 5.0 / (t->sigma * t->sigma);
    const int constrained = t->energy_weights != NULL;
    const vec zero = {0.0}, farthest = zero + 700.0;
    vec *const x = (vec *)s->tile, *const w = x + kinds;
    const vec base = s->norms[b] + *(const vec *)(t->norms + LANES * pack), centre = *(const vec *)(t->products + LANES * pack);
    const vec weight = constrained ? *(const vec *)(t->energy_weights + LANES * pack) : zero;
    vec energy = zero, pull = zero; /* of these points: less is rounded away than in a long sum */
    for (Py_ssize_t i = 0; i < t->a.size; i++)
        for (Py_ssize_t j = 0; j < t->b.size; j++) {
            double *const first = s->x + i * row + j * lanes + LANES * (s->sides * b + q);
            NAME(signs_of_rows)(s, first, x, kinds, 0);
            NAME(signs_of_rows)(s, first + pairs, w, kinds, 0);
            for (Py_ssize_t k = 0; k < kinds; k++) {
                vec n = SMALLER(ROOT(LARGER(base - 2.0 * x[k], zero)) * root, farthest);
                vec slope = w[k] - centre, fall = NAME(decay_of)(n), decay = fall * front;
                vec bell = (1.0 + n) * decay, force = slope * decay * square;
                energy += slope * bell;
                if (constrained) {
                    force += bell * weight;
                    energy += ((1.0 + n + n * n * (1.0 / 3.0)) * fall - 1.0) * weight; /* sums/expansion.py says why */
                }
                pull += force;
                x[k] = -force;
                w[k] = -bell;
            }
            NAME(signs_of_rows)(s, first, x, kinds, 1);
            NAME(signs_of_rows)(s, first + pairs, w, kinds, 1);
        }
    *(vec *)(s->energy + LANES * b) += energy;
    *(vec *)(s->own + LANES * b) += pull;
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
INLINE void NAME(pull)(const int J, const int C, const Space *s, const Irrep *irrep, const double *rows, Py_ssize_t all,
                       Py_ssize_t k, Py_ssize_t c, double *gradient)
{
    Py_ssize_t d = irrep->d, n = irrep->n, sides = s->sides;
    double *const *f = s->spots + k;
    vec sum[6][8];
    for (int j = 0; j < J; j++)
        for (int e = 0; e < C; e++)
            sum[j][e] = (vec){0.0};
    for (Py_ssize_t i = 0; i < d; i++, f += all) {
        const double *y = rows + LANES * sides * (irrep->start + i * n + c);
        for (Py_ssize_t u = 0; u < LANES * sides; u += LANES) {
            vec a[6];
            for (int j = 0; j < J; j++)
                a[j] = *(const vec *)(f[j] + u);
            for (int e = 0; e < C; e++) {
                vec b = *(const vec *)(y + LANES * sides * e + u);
                for (int j = 0; j < J; j++)
                    sum[j][e] += a[j] * b;
            }
        }
    }
    for (int j = 0; j < J; j++) {
        double *to = gradient + s->begins[k + j] + c;
        for (int e = 0; e + 4 <= C; e += 4)
            *(v4 *)(to + e) += NAME(sums)(NAME(quarters)(sum[j][e]), NAME(quarters)(sum[j][e + 1]),
                                           NAME(quarters)(sum[j][e + 2]), NAME(quarters)(sum[j][e + 3]));
        for (int e = C / 4 * 4; e < C; e++)
            to[e] += NAME(total)(NAME(quarters)(sum[j][e]));
    }
}

/* All queries, C entries. */
INLINE void NAME(pull_column)(const int C, const Space *s, const Irrep *irrep, const double *rows, Py_ssize_t all,
                              Py_ssize_t c, double *gradient)
{
    const int most = SUMS / 4;
    Py_ssize_t left = all;
    while (left) {
        int J = left == most + 1 ? (most + 1) / 2 : LEAST(left, most); /* not one alone at the end */
        Py_ssize_t k = all - left;
        switch (J) {
        case 6: NAME(pull)(LEAST(6, most), C, s, irrep, rows, all, k, c, gradient); break;
        case 5: NAME(pull)(LEAST(5, most), C, s, irrep, rows, all, k, c, gradient); break;
        case 4: NAME(pull)(LEAST(4, most), C, s, irrep, rows, all, k, c, gradient); break;
        case 3: NAME(pull)(3, C, s, irrep, rows, all, k, c, gradient); break;
        case 2: NAME(pull)(2, C, s, irrep, rows, all, k, c, gradient); break;
        default: NAME(pull)(1, C, s, irrep, rows, all, k, c, gradient); break;
        }
        left -= J;
    }
}

/* The block's part of the gradient. */
APART void NAME(backward)(const Terms *t, const Space *s, const double *rows, double *gradient, Py_ssize_t batch)
{
    for (const Irrep *irrep = t->irreps; irrep < t->irreps + t->n_irreps; irrep++) {
        Py_ssize_t c = 0, n = irrep->n, all = batch * irrep->d;
        NAME(find)(t, s, irrep, batch);
        for (; all == 1 && c + 8 <= n; c += 8)
            NAME(pull)(1, 8, s, irrep, rows, 1, 0, c, gradient);
        for (; c + 4 <= n; c += 4)
            NAME(pull_column)(4, s, irrep, rows, all, c, gradient);
        switch (n - c) {
        case 3: NAME(pull_column)(3, s, irrep, rows, all, c, gradient); break;
        case 2: NAME(pull_column)(2, s, irrep, rows, all, c, gradient); break;
        case 1: NAME(pull_column)(1, s, irrep, rows, all, c, gradient); break;
        default: break;
        }
    }
}

/* Blocks of `most` packs of all `packs`. */
static void NAME(contract)(const Terms *t, Space *s, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t most,
                           Py_ssize_t packs, const double *query, Py_ssize_t batch, double *energy, double *gradient)
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
        *(vec *)(s->energy + LANES * b) = *(vec *)(s->own + LANES * b) = (vec){0.0};
    }
    for (Py_ssize_t block = start; block < stop; block++) {
        Py_ssize_t pack = block * most;
        const double *rows = t->rows + 2 * LANES * width * pack;
        s->packs = LEAST(most, packs - pack);
        s->sides = 2 * s->packs;
        s->lanes = LANES * s->sides * batch + 8; /* a stride of 4096 bytes would leave one set of the cache for all rows */
        for (Py_ssize_t k = 0; k < t->a.kinds * t->b.kinds; k++)
            s->reach[k] = s->lanes * (k / t->b.kinds * t->a.size * t->b.order + k % t->b.kinds * t->b.size);
        if (!t->complete)
            memset(s->x, 0, sizeof(double) * t->a.rows * t->b.rows * s->lanes);
        NAME(forward)(t, s, rows, query, batch);
        NAME(transform)(t, s, 0);
        for (Py_ssize_t b = 0; b < batch; b++)
            for (Py_ssize_t q = 0; q < s->packs; q++)
                NAME(kernel)(t, s, pack + q, b, q);
        NAME(transform)(t, s, 1);
        NAME(backward)(t, s, rows, gradient, batch);
    }
    for (Py_ssize_t b = 0; b < batch; b++) {
        double own = NAME(total)(NAME(quarters)(*(vec *)(s->own + LANES * b)));
        energy[b] += NAME(total)(NAME(quarters)(*(vec *)(s->energy + LANES * b)));
        for (Py_ssize_t c = 0; c < width; c++)
            gradient[b * width + c] += own * query[b * width + c];
    }
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
