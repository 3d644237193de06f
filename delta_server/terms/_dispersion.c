/* Sums of a dispersion over the pairs and triples of atoms in a cell: what dispersion_sums.py does with NumPy.
 *
 * Everything is float64, Å and eV. Arrays are C-contiguous and their sizes are checked.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_CORE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_CORE
#endif

typedef struct { /* 1 below the square `begin`, 0 from `end` on */
    double begin, end;
} Fade;

typedef struct {
    Py_ssize_t n, kinds, shifts;
    const double *x, *cell, *inverse, *shift, *length; /* (n, 3), (3, 3) twice, (shifts, 3) and their lengths, ascending */
    const int32_t *molecule, *kind;                    /* (n,) */
    const double *c6, *c8, *radius, *c9;               /* (kinds, kinds), c9 (kinds, kinds, kinds) */
    Fade pairs, triples;
    double *forces, *virial, energy;
} Sums;

typedef struct { /* atoms around one: where from it, square of the distance, what the fading leaves and its slope, forces */
    Py_ssize_t n, room;
    double *x, *y, *z, *square, *left, *slope, *radius, *weight, *fx, *fy, *fz;
    int32_t *kind, *atom, *own;
} Around;

/* What is left at a square distance, and its slope in the square. */
static inline double fading(Fade f, double square, double *slope)
{
    double scale = 1.0 / (f.end - f.begin), t = (square - f.begin) * scale;
    t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
    *slope = -30.0 * t * t * (1.0 - t) * (1.0 - t) * scale;
    return 1.0 - t * t * t * (10.0 - t * (15.0 - 6.0 * t));
}

/* All triangles of one atom, the a-th of those around it, and any later one. */
EACH_CORE
static void triangles(const Sums *s, const Around *r, Py_ssize_t i, Py_ssize_t a, double *energy)
{
    const double *restrict X = r->x, *restrict Y = r->y, *restrict Z = r->z, *restrict square = r->square;
    const double *restrict left = r->left, *restrict slope = r->slope, *restrict radius = r->radius;
    const double *restrict weight = r->weight;
    const int32_t *restrict kind = r->kind, *restrict own = r->own;
    double *restrict FX = r->fx, *restrict FY = r->fy, *restrict FZ = r->fz;
    const double *restrict c9 = s->c9 + ((Py_ssize_t)s->kind[i] * s->kinds + kind[a]) * s->kinds;
    const double *restrict across = s->radius + (Py_ssize_t)kind[a] * s->kinds;
    const double xa = X[a], ya = Y[a], za = Z[a], x = square[a], lx = left[a], sx = slope[a], ra = radius[a], wa = weight[a];
    const double begin = s->triples.begin, scale = 1.0 / (s->triples.end - begin);
    const int32_t own_a = own[a];
    double fx = 0.0, fy = 0.0, fz = 0.0, sum = 0.0;
#pragma omp simd reduction(+ : fx, fy, fz, sum)
    for (Py_ssize_t b = a + 1; b < r->n; b++) {
        double dx = X[b] - xa, dy = Y[b] - ya, dz = Z[b] - za;
        double y = square[b], z = dx * dx + dy * dy + dz * dz;
        double t = (z - begin) * scale;
        t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
        double lz = 1.0 - t * t * t * (10.0 - t * (15.0 - 6.0 * t)), sz = -30.0 * t * t * (1.0 - t) * (1.0 - t) * scale;
        double p = x * y * z, over = 1.0 / p;
        double A = x + y - z, B = x + z - y, C = y + z - x, AB = A * B, AC = A * C, BC = B * C, n = AB * C * over;
        double angle = 1.0 + 0.375 * n;
        /* u^(8/3) of the square of the product of radii over distances; its cube root by Halley, from a float's bits */
        double u = ra * radius[b] * across[kind[b]];
        u *= u * over;
        float low = (float)u;
        int32_t bits;
        memcpy(&bits, &low, 4);
        bits = bits / 3 + 709921077;
        memcpy(&low, &bits, 4);
        double c = low, c3 = c * c * c;
        c *= (c3 + 2.0 * u) / (2.0 * c3 + u);
        c3 = c * c * c;
        c *= (c3 + 2.0 * u) / (2.0 * c3 + u);
        t = u * u * c * c;
        double damped = 1.0 / (1.0 + 6.0 * t);
        /* those that are counted from several of their atoms have their share; those of one molecule have none */
        double share = 1.0 / (1.0 + wa + weight[b]);
        share = own_a & own[b] ? 0.0 : share;
        double all = share * c9[kind[b]] * over * sqrt(over) * damped;
        double lxy = lx * left[b], e = all * angle, el = e * lz;
        double falls = 16.0 * t * damped - 1.5; /* d ln(damping · p^−3/2) / d ln(square of an edge) */
        double ex = lxy * lz * (all * 0.375 * ((BC + AC - AB) * over - n / x) + e * falls / x) + el * left[b] * sx;
        double ey = lxy * lz * (all * 0.375 * ((BC + AB - AC) * over - n / y) + e * falls / y) + el * lx * slope[b];
        double ez = lxy * lz * (all * 0.375 * ((AC + AB - BC) * over - n / z) + e * falls / z) + e * lxy * sz;
        sum += el * lxy;
        fx -= 2.0 * (ex * xa - ez * dx);
        fy -= 2.0 * (ex * ya - ez * dy);
        fz -= 2.0 * (ex * za - ez * dz);
        FX[b] -= 2.0 * (ey * X[b] + ez * dx);
        FY[b] -= 2.0 * (ey * Y[b] + ez * dy);
        FZ[b] -= 2.0 * (ey * Z[b] + ez * dz);
    }
    FX[a] += fx;
    FY[a] += fy;
    FZ[a] += fz;
    *energy += sum;
}

/* All pairs of one atom with those around it. */
EACH_CORE
static void pairs(const Sums *s, const Around *r, Py_ssize_t i, double *energy)
{
    const double *restrict X = r->x, *restrict Y = r->y, *restrict Z = r->z, *restrict square = r->square;
    const double *restrict left = r->left, *restrict slope = r->slope, *restrict radius = r->radius;
    const double *restrict weight = r->weight;
    const int32_t *restrict kind = r->kind;
    double *restrict FX = r->fx, *restrict FY = r->fy, *restrict FZ = r->fz;
    const double *restrict c6 = s->c6 + (Py_ssize_t)s->kind[i] * s->kinds, *restrict c8 = s->c8 + (c6 - s->c6);
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (Py_ssize_t b = 0; b < r->n; b++) {
        double x = square[b], x3 = x * x * x, r2 = radius[b] * radius[b], r6 = r2 * r2 * r2;
        double six = 1.0 / (x3 + r6), eight = 1.0 / (x3 * x + r6 * r2), share = 1.0 - 0.5 * weight[b];
        double a6 = share * c6[kind[b]] * six, a8 = share * c8[kind[b]] * eight, e = -(a6 + a8);
        double pull = -2.0 * ((3.0 * a6 * x * x * six + 4.0 * a8 * x3 * eight) * left[b] + e * slope[b]);
        sum += e * left[b];
        FX[b] = pull * X[b];
        FY[b] = pull * Y[b];
        FZ[b] = pull * Z[b];
    }
    *energy += sum;
}

/* The forces on the atoms around one, to where they belong. */
EACH_CORE
static void pull(Sums *s, const Around *r, Py_ssize_t i)
{
    const double *on[3] = {r->fx, r->fy, r->fz};
    for (int b = 0; b < 3; b++) {
        const double *restrict f = on[b], *restrict X = r->x, *restrict Y = r->y, *restrict Z = r->z;
        double all = 0.0, vx = 0.0, vy = 0.0, vz = 0.0;
#pragma omp simd reduction(+ : all, vx, vy, vz)
        for (Py_ssize_t k = 0; k < r->n; k++) {
            all += f[k];
            vx += X[k] * f[k];
            vy += Y[k] * f[k];
            vz += Z[k] * f[k];
        }
        s->forces[3 * i + b] -= all;
        s->virial[b] += vx;
        s->virial[3 + b] += vy;
        s->virial[6 + b] += vz;
    }
    for (Py_ssize_t k = 0; k < r->n; k++)
        for (int b = 0; b < 3; b++)
            s->forces[3 * r->atom[k] + b] += on[b][k];
}

static int larger(Around *r)
{
    Py_ssize_t room = 2 * r->room + 256;
    double **arrays[] = {&r->x, &r->y, &r->z, &r->square, &r->left, &r->slope, &r->radius, &r->weight, &r->fx, &r->fy, &r->fz};
    int32_t **whole[] = {&r->kind, &r->atom, &r->own};
    for (size_t k = 0; k < sizeof(arrays) / sizeof(*arrays); k++) {
        double *more = realloc(*arrays[k], sizeof(double) * room);
        if (!more)
            return 0;
        *arrays[k] = more;
    }
    for (size_t k = 0; k < sizeof(whole) / sizeof(*whole); k++) {
        int32_t *more = realloc(*whole[k], sizeof(int32_t) * room);
        if (!more)
            return 0;
        *whole[k] = more;
    }
    r->room = room;
    return 1;
}

static void none(Around *r)
{
    void *all[] = {r->x, r->y, r->z, r->square, r->left, r->slope, r->radius, r->weight, r->fx, r->fy, r->fz, r->kind, r->atom, r->own};
    for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++)
        free(all[k]);
}

/* Atom j, at d from atom i, to those around it. */
static inline int put(const Sums *s, Around *r, Py_ssize_t j, const double *d, double square, int image, int own)
{
    if (r->n == r->room && !larger(r))
        return 0;
    Py_ssize_t at = r->n++;
    r->x[at] = d[0];
    r->y[at] = d[1];
    r->z[at] = d[2];
    r->square[at] = square;
    r->weight[at] = image;
    r->kind[at] = s->kind[j];
    r->atom[at] = (int32_t)j;
    r->own[at] = own;
    return 1;
}

/* The rest that pairs and triples need of those around atom i. */
EACH_CORE
static void fade(const Sums *s, Around *r, Fade f, Py_ssize_t i)
{
    const double *restrict radii = s->radius + (Py_ssize_t)s->kind[i] * s->kinds, *restrict square = r->square;
    double *restrict left = r->left, *restrict slope = r->slope, *restrict radius = r->radius;
    const int32_t *restrict kind = r->kind;
#pragma omp simd
    for (Py_ssize_t b = 0; b < r->n; b++) {
        left[b] = fading(f, square[b], slope + b);
        radius[b] = radii[kind[b]];
    }
    double *all[] = {r->fx, r->fy, r->fz};
    for (int k = 0; r->n && k < 3; k++)
        memset(all[k], 0, sizeof(double) * r->n);
}

/* Squares of the distances of `near` by the first shifts, whose components stand apart. */
EACH_CORE
static void squares(const double *shift, Py_ssize_t shifts, Py_ssize_t first, const double *near, double *square)
{
    const double *restrict x = shift, *restrict y = shift + shifts, *restrict z = shift + 2 * shifts;
    double *restrict out = square;
#pragma omp simd
    for (Py_ssize_t t = 0; t < first; t++) {
        double dx = near[0] + x[t], dy = near[1] + y[t], dz = near[2] + z[t];
        out[t] = dx * dx + dy * dy + dz * dz;
    }
}

/* Atom i itself and later ones, in all cells: those near enough for pairs, and for triples. room: (4, shifts). */
static int find(const Sums *s, Around *two, Around *three, Py_ssize_t i, double *room)
{
    double most = s->pairs.end > s->triples.end ? s->pairs.end : s->triples.end, reach = sqrt(most), *square = room + 3 * s->shifts;
    two->n = three->n = 0;
    for (Py_ssize_t j = i; j < s->n; j++) {
        double plain[3], near[3];
        for (int a = 0; a < 3; a++)
            near[a] = plain[a] = s->x[3 * j + a] - s->x[3 * i + a];
        for (int k = 0; k < 3; k++) { /* `plain` by whole cells, which the shifts go around */
            double turns = rint(plain[0] * s->inverse[k] + plain[1] * s->inverse[3 + k] + plain[2] * s->inverse[6 + k]);
            for (int a = 0; a < 3; a++)
                near[a] -= turns * s->cell[3 * k + a];
        }
        double farthest = reach + sqrt(near[0] * near[0] + near[1] * near[1] + near[2] * near[2]);
        Py_ssize_t first = 0;
        while (first < s->shifts && s->length[first] <= farthest)
            first++;
        squares(room, s->shifts, first, near, square);
        int same = s->molecule[i] == s->molecule[j];
        for (Py_ssize_t t = 0; t < first; t++) {
            if (square[t] >= most)
                continue;
            double d[3], moved = 0.0;
            for (int a = 0; a < 3; a++) {
                d[a] = near[a] + s->shift[3 * t + a];
                moved += (d[a] - plain[a]) * (d[a] - plain[a]);
            }
            int own = same && moved < 1e-6;
            if (own && i == j)
                continue;
            if (!own && square[t] < s->pairs.end && !put(s, two, j, d, square[t], i == j, own))
                return 0;
            if (square[t] < s->triples.end && !put(s, three, j, d, square[t], i == j, own))
                return 0;
        }
    }
    return 1;
}

static int add_all(Sums *s)
{
    Around two = {0}, three = {0};
    double *room = malloc(sizeof(double) * 4 * (s->shifts + 1));
    int good = room != NULL;
    for (Py_ssize_t t = 0; good && t < 3 * s->shifts; t++)
        room[t % 3 * s->shifts + t / 3] = s->shift[t];
    for (Py_ssize_t i = 0; good && i < s->n; i++) {
        if (!(good = find(s, &two, &three, i, room)))
            break;
        fade(s, &two, s->pairs, i);
        fade(s, &three, s->triples, i);
        pairs(s, &two, i, &s->energy);
        for (Py_ssize_t a = 0; a < three.n; a++)
            triangles(s, &three, i, a, &s->energy);
        pull(s, &two, i);
        pull(s, &three, i);
    }
    free(room);
    none(&two);
    none(&three);
    return good;
}

static PyObject *py_sums(PyObject *self, PyObject *args)
{
    enum { X, CELL, INVERSE, SHIFT, LENGTH, MOLECULE, KIND, C6, C8, RADIUS, C9, FORCES, VIRIAL, COUNT };
    Py_buffer b[COUNT];
    Sums s = {0};
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*y*y*y*(dd)(dd)w*w*", b, b + 1, b + 2, b + 3, b + 4, b + 5, b + 6, b + 7, b + 8,
                          b + 9, b + 10, &s.pairs.begin, &s.pairs.end, &s.triples.begin, &s.triples.end, b + 11, b + 12))
        return NULL;
    s.n = b[KIND].len / 4;
    s.shifts = b[LENGTH].len / 8;
    while (s.kinds * s.kinds * 8 < b[C6].len)
        s.kinds++;
    int done = 1, good = b[X].len == 24 * s.n && b[CELL].len == 72 && b[INVERSE].len == 72 && b[SHIFT].len == 24 * s.shifts &&
                         b[MOLECULE].len == 4 * s.n && b[C6].len == 8 * s.kinds * s.kinds && b[C8].len == b[C6].len &&
                         b[RADIUS].len == b[C6].len && b[C9].len == b[C6].len * s.kinds && b[FORCES].len == b[X].len &&
                         b[VIRIAL].len == 72 && s.pairs.begin < s.pairs.end && s.triples.begin < s.triples.end;
    s.kind = b[KIND].buf;
    for (Py_ssize_t i = 0; good && i < s.n; i++)
        good = 0 <= s.kind[i] && s.kind[i] < s.kinds;
    if (good) {
        s.x = b[X].buf, s.cell = b[CELL].buf, s.inverse = b[INVERSE].buf, s.shift = b[SHIFT].buf, s.length = b[LENGTH].buf;
        s.molecule = b[MOLECULE].buf, s.c6 = b[C6].buf, s.c8 = b[C8].buf, s.radius = b[RADIUS].buf, s.c9 = b[C9].buf;
        s.forces = b[FORCES].buf, s.virial = b[VIRIAL].buf;
        Py_BEGIN_ALLOW_THREADS
        memset(s.forces, 0, b[FORCES].len);
        memset(s.virial, 0, b[VIRIAL].len);
        done = add_all(&s);
        Py_END_ALLOW_THREADS
    }
    for (int k = 0; k < COUNT; k++)
        PyBuffer_Release(b + k);
    if (!good)
        return PyErr_SetString(PyExc_ValueError, "sums: sizes of the arrays do not agree"), NULL;
    return done ? PyFloat_FromDouble(s.energy) : PyErr_NoMemory();
}

static PyMethodDef methods[] = {
    {"sums", py_sums, METH_VARARGS,
     "sums(x, cell, inverse, shifts, lengths, molecule, kind, c6, c8, radius, c9, pairs, triples, forces, virial): energy."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_dispersion", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__dispersion(void)
{
    return PyModule_Create(&module);
}
