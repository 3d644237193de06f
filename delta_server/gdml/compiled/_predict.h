/* A prediction from positions to forces, for _compiled.c; included as _loops.h is, which has what it uses. */

/* Sums and differences over the N-orbits of a block's entries, in place. */
INLINE void NAME(signs_of_orbits)(const Space *s, double *x, Py_ssize_t room, Py_ssize_t n, const int64_t *sizes)
{
    vec *tile = (vec *)s->tile;
    for (Py_ssize_t o = 0; o < n; x += sizes[o++] * room)
        for (Py_ssize_t c = 0; sizes[o] > 1 && c < room; c += LANES) {
            for (Py_ssize_t k = 0; k < sizes[o]; k++)
                tile[k] = *(const vec *)(x + k * room + c);
            NAME(signs)(tile, 1, sizes[o]);
            for (Py_ssize_t k = 0; k < sizes[o]; k++)
                *(vec *)(x + k * room + c) = tile[k];
        }
}

/* Coefficients of the descriptor at s->entries, or with `back` the other way round; see sums/turns.py. */
static void NAME(change)(const Sum *sum, const Space *s, double *coefficients, int back)
{
    const double *matrix = sum->matrices;
    double *x = s->entries, *product = s->product;
    for (const int64_t *at = sum->plan, *end = at + sum->n_plan; at < end;) {
        Py_ssize_t orbits = at[0], room = at[1], size = at[2], n_sizes = at[3];
        const int64_t *sizes = at + 4, *places = sizes + n_sizes;
        if (!back)
            NAME(signs_of_orbits)(s, x, room, n_sizes, sizes);
        for (Py_ssize_t k = 0; back && k < size; k++) {
            memcpy(product + k * room, coefficients + places[k], sizeof(double) * orbits);
            memset(product + k * room + orbits, 0, sizeof(double) * (room - orbits));
        }
        at = places + size;
        for (Py_ssize_t groups = *at++; groups; groups--) {
            Py_ssize_t columns = at[0], rows = at[1];
            at += 2;
            for (Py_ssize_t k = 0; k < columns; k++)
                s->out[k] = product + *at++ * room;
            for (Py_ssize_t k = 0; k < rows; k++)
                s->out[columns + k] = x + *at++ * room;
            if (back)
                NAME(multiply)(rows, columns, matrix + rows * columns, (const double **)s->out, room, s->out + columns);
            else
                NAME(multiply)(columns, rows, matrix, (const double **)s->out + columns, room, s->out);
            matrix += 2 * rows * columns;
        }
        for (Py_ssize_t k = 0; !back && k < size; k++)
            memcpy(coefficients + places[k], product + k * room, sizeof(double) * orbits);
        if (back)
            NAME(signs_of_orbits)(s, x, room, n_sizes, sizes);
        x += size * room;
    }
}

/* Descriptors of a few structures, and the coefficients of their permuted copies. */
static void NAME(begin)(const Sum *sum, Space *s, const double *r, Py_ssize_t count)
{
    Py_ssize_t pairs = sum->shape.pairs;
    double *query = s->query;
    NAME(describe)(&sum->shape, r, count, s->x_of, s->slope, s->centred);
    for (Py_ssize_t b = 0; b < count; b++) {
        double *x = s->x_of + b * pairs;
        for (Py_ssize_t k = 0; k < pairs; k++)
            x[k] -= sum->centre[k];
        const int32_t *from = sum->entries;
        for (Py_ssize_t g = 0; g < sum->copies; g++, from += sum->padded, query += sum->t.width) {
            for (Py_ssize_t k = 0; k < sum->padded; k++)
                s->entries[k] = from[k] < 0 ? 0.0 : x[from[k]];
            NAME(change)(sum, s, query, 0);
        }
    }
}

/* Energies, forces and virials. */
static void NAME(finish)(const Sum *sum, const Space *s, Py_ssize_t count, double *energy, double *forces, double *virial)
{
    Py_ssize_t pairs = sum->shape.pairs;
    double *gradient = s->gradient;
    for (Py_ssize_t b = 0; b < count; b++) {
        double *pull = s->x_of + b * pairs, total = 0.0; /* in the place of the descriptor */
        const int32_t *to = sum->entries;
        memset(pull, 0, sizeof(double) * pairs);
        for (Py_ssize_t g = 0; g < sum->copies; g++, to += sum->padded, gradient += sum->t.width) {
            NAME(change)(sum, s, gradient, 1);
            for (Py_ssize_t k = 0; k < sum->padded; k++)
                if (to[k] >= 0)
                    pull[to[k]] += s->entries[k];
            total += s->sums[b * sum->copies + g];
        }
        for (Py_ssize_t k = 0; k < pairs; k++)
            pull[k] *= sum->scale;
        energy[b] = sum->offset + sum->scale * total;
    }
    memset(forces, 0, sizeof(double) * 3 * sum->shape.n * count);
    NAME(pull_together)(&sum->shape, s->centred, s->slope, s->x_of, count, forces);
    NAME(strain)(sum->shape.n, s->centred, forces, count, virial);
}
