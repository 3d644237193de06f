/* The inner loops of a prediction: descriptor, sum over training points and permutations, forces.
 *
 * What sums/numpy_sum.py and descriptor/descriptor.py do with NumPy, in one pass: a few training points at a time are
 * read once, multiplied with the query, transformed to the group, put through the kernel function, transformed back and
 * added to the gradient while they are in the cache. Everything is float64. Arrays are C-contiguous and their sizes are
 * checked.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define STRETCH 96 /* entries of a descriptor that all queries are multiplied with at a time */

typedef double v4 __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t i4 __attribute__((vector_size(32)));
typedef double v8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef int64_t i8 __attribute__((vector_size(64)));

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (i4){__VA_ARGS__})
#endif

typedef struct {
    Py_ssize_t d, n, start, first; /* dimension, copies, place in a row, place of its elements */
} Irrep;

typedef struct {
    Py_ssize_t n_irreps, width; /* width of a row: Σ d n */
    const Irrep *irreps;
    const int64_t *place;    /* of element ij among the rows of the tables' product */
    Py_ssize_t ra, a, rb, b; /* tables are (ra, a) and (rb, b) */
    const double *ta, *tat, *tb, *tbt;
    const double *rows;            /* (M / LANES, 2, width, LANES): training points in packs, descriptors and weights */
    const double *norms, *products, *energy_weights; /* (M,) */
    double sigma;
} Terms;

typedef struct {
    Py_ssize_t packs, pairs, lanes; /* of a block: packs of points, points with structures, both kinds of rows */
    double *x, *y;                  /* (ra, rb, lanes) and what comes of it; lanes: kind, pack, structure, point */
    const double **in;
    double **out;
    double *base, *centre, *weight, *energy, *pull; /* (pairs,) */
    double *norms, *own; /* of each query: its square, and what it has of itself in the gradient */
} Space;

typedef struct { /* see Basis in sums/basis.py */
    Py_ssize_t n_blocks, width;
    const int64_t *blocks, *from, *to; /* (n_blocks, 2) orbits and their size; (width,) entries */
    const double *matrices;            /* (size, size padded to a multiple of 8) of each block */
    const double **rows;
} Turn;

typedef struct { /* see descriptor/metric.py; no ends: all pairs, no scales: 1 */
    Py_ssize_t n, pairs;
    const int32_t *ends; /* (pairs, 2) */
    const double *scales;
    int halves; /* 2 p */
    double decay;
} Shape;

INLINE v4 root4(v4 a)
{
    for (int l = 0; l < 4; l++)
        a[l] = sqrt(a[l]);
    return a;
}

INLINE v4 larger4(v4 a, v4 b)
{
    for (int l = 0; l < 4; l++)
        a[l] = a[l] > b[l] ? a[l] : b[l];
    return a;
}

INLINE v4 smaller4(v4 a, v4 b)
{
    for (int l = 0; l < 4; l++)
        a[l] = a[l] < b[l] ? a[l] : b[l];
    return a;
}

#define vec v4
#define ints i4
#define LANES 4
#define SUMS 12
#define NAME(f) f##_portable
#define ROOT root4
#define LARGER larger4
#define SMALLER smaller4
#include "_loops.h"
#include "_descriptor.h"
#undef NAME
#undef ROOT
#undef LARGER
#undef SMALLER

#if defined(__x86_64__) && defined(__GNUC__)
#define MORE
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define NAME(f) f##_avx2
#define ROOT(a) ((vec)_mm256_sqrt_pd((__m256d)(a)))
#define LARGER(a, b) ((vec)_mm256_max_pd((__m256d)(a), (__m256d)(b)))
#define SMALLER(a, b) ((vec)_mm256_min_pd((__m256d)(a), (__m256d)(b)))
#include "_loops.h"
#include "_descriptor.h"
#undef NAME
#undef ROOT
#undef LARGER
#undef SMALLER
#undef vec
#undef ints
#undef LANES
#undef SUMS
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#define vec v8
#define ints i8
#define LANES 8
#define SUMS 24
#define NAME(f) f##_avx512
#define ROOT(a) ((vec)_mm512_sqrt_pd((__m512d)(a)))
#define LARGER(a, b) ((vec)_mm512_max_pd((__m512d)(a), (__m512d)(b)))
#define SMALLER(a, b) ((vec)_mm512_min_pd((__m512d)(a), (__m512d)(b)))
#include "_loops.h"
#include "_descriptor.h"
#undef NAME
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

/* Instruction sets, the best last; `paths` of the module are those that this processor has. */
#ifdef MORE
enum { PORTABLE, AVX2, AVX512 };
#define HAS(x) __builtin_cpu_supports(#x)
#define BEST_PATH                                                                                                      \
    (!HAS(avx2) || !HAS(fma) ? PORTABLE : HAS(avx512f) && HAS(avx512dq) && HAS(avx512vl) ? AVX512 : AVX2)
#define ON(path, f) (path == AVX512 ? f##_avx512 : path == AVX2 ? f##_avx2 : f##_portable)
#else
enum { PORTABLE };
#define BEST_PATH PORTABLE
#define ON(path, f) f##_portable
#endif
static const struct {
    const char *name;
    int lanes;
} paths[] = {{"portable", 4}, {"avx2", 4}, {"avx512", 8}};

/* ---- the module ---- */

static Py_ssize_t doubles(const Py_buffer *b) { return b->len / (Py_ssize_t)sizeof(double); }

static void *aligned(Py_ssize_t n)
{
    void *p = NULL;
    return posix_memalign(&p, 64, sizeof(double) * (n > 0 ? n : 1)) ? NULL : p;
}

/* What a function ends with: its buffers go back, and it returns None or says what was wrong. */
static PyObject *finished(Py_buffer **all, size_t n, int good, int failed, const char *name)
{
    for (size_t i = 0; i < n; i++)
        PyBuffer_Release(all[i]);
    if (failed)
        return PyErr_NoMemory();
    if (!good)
        return PyErr_Format(PyExc_ValueError, "%s: sizes of the arrays do not agree", name);
    Py_RETURN_NONE;
}

static PyObject *py_contract(PyObject *self, PyObject *args)
{
    Py_buffer shapes, place, ta, tat, tb, tbt, rows, norms, products, weights, query, energy, gradient;
    Py_ssize_t ra, a, rb, b, start, stop, packs;
    int path;
    double sigma;
    if (!PyArg_ParseTuple(args, "iy*y*(nnnn)y*y*y*y*y*y*y*y*dy*nnnw*w*", &path, &shapes, &place, &ra, &a, &rb, &b, &ta, &tat,
                          &tb, &tbt, &rows, &norms, &products, &weights, &sigma, &query, &start, &stop, &packs,
                          &energy, &gradient))
        return NULL;
    const int64_t *shape = shapes.buf, *places = place.buf;
    Py_ssize_t n_irreps = shapes.len / 16, n_train = doubles(&norms), batch = doubles(&energy);
    Py_ssize_t width = 0, first = 0;
    Irrep *irreps = malloc(sizeof(Irrep) * (n_irreps + 1));
    int good = irreps && ra > 0 && a > 0 && rb > 0 && b > 0 && packs > 0 && 0 <= path && path <= BEST_PATH;
    Py_ssize_t lanes = good ? paths[path].lanes : 1;
    good = good && n_train % lanes == 0;
    for (Py_ssize_t r = 0; good && r < n_irreps; r++) {
        irreps[r] = (Irrep){shape[2 * r], shape[2 * r + 1], width, first};
        good = irreps[r].d > 0 && irreps[r].d < 65536 && irreps[r].n > 0;
        width += irreps[r].d * irreps[r].n;
        first += irreps[r].d * irreps[r].d;
    }
    good = good && place.len == 8 * first && doubles(&ta) == ra * a && doubles(&tat) == ra * a &&
           doubles(&tb) == rb * b && doubles(&tbt) == rb * b && doubles(&rows) == 2 * n_train * width &&
           doubles(&products) == n_train && (weights.len == 0 || doubles(&weights) == n_train) &&
           doubles(&query) == batch * width && doubles(&gradient) == batch * width &&
           0 <= start && start <= stop && stop <= n_train / lanes;
    for (Py_ssize_t k = 0; good && k < first; k++)
        good = 0 <= places[k] && places[k] < ra * rb;
    int failed = 0;
    if (good && batch) {
        Terms t = {n_irreps, width, irreps, places, ra, a, rb, b, ta.buf, tat.buf, tb.buf, tbt.buf, rows.buf,
                   norms.buf, products.buf, weights.len ? weights.buf : NULL, sigma};
        Space s = {0};
        s.packs = packs < stop - start ? packs : stop - start;
        s.packs = s.packs > 0 ? s.packs : 1;
        s.pairs = lanes * s.packs * batch;
        s.lanes = 2 * s.pairs;
        Py_ssize_t ma = ra > a ? ra : a, mb = rb > b ? rb : b, longest = ma > mb ? ma : mb, room = ma * mb * s.lanes;
        double *space = aligned(2 * room + 5 * s.pairs + 2 * batch);
        s.in = malloc(sizeof(double *) * longest);
        s.out = malloc(sizeof(double *) * longest);
        if (space && s.in && s.out) {
            s.x = space;
            s.y = s.x + room;
            s.base = s.y + room;
            s.centre = s.base + s.pairs;
            s.weight = s.centre + s.pairs;
            s.energy = s.weight + s.pairs;
            s.pull = s.energy + s.pairs;
            s.norms = s.pull + s.pairs;
            s.own = s.norms + batch;
            Py_BEGIN_ALLOW_THREADS
            ON(path, contract)(&t, &s, start, stop, query.buf, batch, energy.buf, gradient.buf);
            Py_END_ALLOW_THREADS
        } else
            failed = 1;
        free(space);
        free(s.in);
        free(s.out);
    }
    free(irreps);
    Py_buffer *all[] = {&shapes, &place, &ta, &tat, &tb, &tbt, &rows, &norms, &products, &weights, &query,
                        &energy, &gradient};
    return finished(all, sizeof(all) / sizeof(*all), good, failed, "contract");
}

static PyObject *py_turn(PyObject *self, PyObject *args)
{
    Py_buffer blocks, from, to, matrices, x, out;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*w*", &blocks, &from, &to, &matrices, &x, &out))
        return NULL;
    Turn t = {blocks.len / 16, from.len / 8, blocks.buf, from.buf, to.buf, matrices.buf, NULL};
    Py_ssize_t width = 0, needed = 0, largest = 0;
    int good = t.width > 0 && to.len == from.len && doubles(&x) % t.width == 0 && out.len == x.len, failed = 0;
    for (Py_ssize_t k = 0; good && k < t.n_blocks; k++) {
        Py_ssize_t orbits = t.blocks[2 * k], size = t.blocks[2 * k + 1];
        good = 0 < orbits && orbits <= t.width && 0 < size && size <= t.width;
        width += good ? orbits * size : 0;
        needed += good ? size * ((size + 7) / 8 * 8) : 0;
        largest = size > largest ? size : largest;
    }
    good = good && width == t.width && doubles(&matrices) == needed;
    for (Py_ssize_t k = 0; good && k < t.width; k++)
        good = 0 <= t.from[k] && t.from[k] < t.width && 0 <= t.to[k] && t.to[k] < t.width;
    if (good) {
        double *room = aligned(12 * (largest + 8));
        t.rows = malloc(sizeof(double *) * largest);
        failed = !room || !t.rows;
        if (!failed) {
            Py_BEGIN_ALLOW_THREADS
            ON(BEST_PATH, turn)(&t, doubles(&x) / t.width, x.buf, out.buf, room, room + 6 * (largest + 8));
            Py_END_ALLOW_THREADS
        }
        free(room);
        free(t.rows);
    }
    Py_buffer *all[] = {&blocks, &from, &to, &matrices, &x, &out};
    return finished(all, sizeof(all) / sizeof(*all), good, failed, "turn");
}

/* Whether there are as many pairs as there should be, and all of them of atoms. */
static int shape_of(Shape *m, Py_ssize_t n, const Py_buffer *ends)
{
    int good = n > 0 && ends->len % 8 == 0;
    *m = (Shape){n, n * (n - 1) / 2, NULL, NULL, 2, 0.0};
    if (good && ends->len) {
        m->ends = ends->buf;
        m->pairs = ends->len / 8;
        for (Py_ssize_t k = 0; good && k < 2 * m->pairs; k++)
            good = 0 <= m->ends[k] && m->ends[k] < n;
    }
    return good;
}

static PyObject *py_describe(PyObject *self, PyObject *args)
{
    Py_buffer r, ends, scales, x, slope, centred;
    Py_ssize_t n;
    int halves;
    double decay;
    if (!PyArg_ParseTuple(args, "y*ny*y*idw*w*w*", &r, &n, &ends, &scales, &halves, &decay, &x, &slope,
                          &centred))
        return NULL;
    Shape m;
    int good = shape_of(&m, n, &ends) && doubles(&r) % (3 * n) == 0 && doubles(&x) == doubles(&r) / (3 * n) * m.pairs &&
               slope.len == x.len && centred.len == r.len && (!scales.len || doubles(&scales) == m.pairs) && halves > 0 && decay >= 0.0;
    if (good) {
        m.scales = scales.len ? scales.buf : NULL;
        m.halves = halves;
        m.decay = decay;
        Py_BEGIN_ALLOW_THREADS
        ON(BEST_PATH, describe)(&m, r.buf, doubles(&r) / (3 * n), x.buf, slope.buf, centred.buf);
        Py_END_ALLOW_THREADS
    }
    Py_buffer *all[] = {&r, &ends, &scales, &x, &slope, &centred};
    return finished(all, sizeof(all) / sizeof(*all), good, 0, "describe");
}

static PyObject *py_forces(PyObject *self, PyObject *args)
{
    Py_buffer r, ends, slope, gradient, f, virial;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "y*ny*y*y*w*w*", &r, &n, &ends, &slope, &gradient, &f, &virial))
        return NULL;
    Shape m;
    int good = shape_of(&m, n, &ends) && doubles(&r) % (3 * n) == 0 &&
               doubles(&slope) == doubles(&r) / (3 * n) * m.pairs && gradient.len == slope.len && f.len == r.len &&
               doubles(&virial) == doubles(&r) / (3 * n) * 9;
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        memset(f.buf, 0, f.len);
        ON(BEST_PATH, pull_together)(&m, r.buf, slope.buf, gradient.buf, doubles(&r) / (3 * n), f.buf);
        ON(BEST_PATH, strain)(n, r.buf, f.buf, doubles(&r) / (3 * n), virial.buf);
        Py_END_ALLOW_THREADS
    }
    Py_buffer *all[] = {&r, &ends, &slope, &gradient, &f, &virial};
    return finished(all, sizeof(all) / sizeof(*all), good, 0, "forces");
}

static PyMethodDef methods[] = {
    {"contract", py_contract, METH_VARARGS, "Add the sum over some training points; see gdml/sums."},
    {"turn", py_turn, METH_VARARGS, "turn(blocks, from, to, matrices, x, out): to another basis; see Basis._turns."},
    {"describe", py_describe, METH_VARARGS, "describe(r, n, *Metric.compiled, x, slopes, centred): descriptors of (B, n, 3)."},
    {"forces", py_forces, METH_VARARGS, "forces(centred, n, ends, slopes, −∂E/∂x, f, virial): what the pairs pull."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_compiled", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__compiled(void)
{
    PyObject *made = PyModule_Create(&module), *names = made ? PyList_New(0) : NULL;
    for (int path = 0; names && path <= BEST_PATH; path++) {
        PyObject *pair = Py_BuildValue("(si)", paths[path].name, paths[path].lanes);
        if (!pair || PyList_Append(names, pair) < 0)
            Py_CLEAR(names);
        Py_XDECREF(pair);
    }
    if (!names || PyModule_AddObjectRef(made, "paths", names) < 0)
        Py_CLEAR(made);
    Py_XDECREF(names);
    return made;
}
