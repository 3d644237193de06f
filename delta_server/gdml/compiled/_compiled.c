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
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline)) /* whose loops have the registers to themselves */

#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define MOST(a, b) ((a) > (b) ? (a) : (b))
#define STRETCH 64 /* entries of a descriptor that all queries are multiplied with at a time */

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

typedef struct { /* of a factor of the group; see symmetry/signs.py */
    Py_ssize_t rows, kinds, size, order; /* matrix elements, characters, columns of their matrices, kinds * size */
    const int64_t *counts;               /* (kinds,) rows of each character, which stand together */
    const double *there, *back;          /* of each character (size, its rows), and (its rows, size) */
    int unit;                            /* whether all of them are 1 */
} Factor;

typedef struct {
    Py_ssize_t n_irreps, width; /* width of a row: Σ d n */
    const Irrep *irreps;
    const int64_t *place; /* of element ij among the products of the factors' rows */
    Factor a, b;
    int complete;       /* whether every product of rows has its place */
    const double *rows; /* of each block (width, 2, packs, LANES): descriptors and weights of its training points */
    const double *norms, *products, *energy_weights; /* (M,) */
    double sigma;
} Terms;

typedef struct {
    Py_ssize_t packs, sides, lanes; /* of a block: packs of points, twice as many, and a row of x: structure, side, pack */
    double *x, *y;                  /* (rows of a, rows of b, lanes), and room for what comes of it */
    const double **in;
    double **out;
    double **spots; /* see `find` */
    Py_ssize_t *begins, *reach; /* reach: from the first to each character's row of s->x */
    double *tile;         /* (2, characters, LANES) */
    double *energy, *own; /* of each query (LANES,): its energy, and what it has of itself in the gradient */
    double *norms;        /* of each query: its square */
    double *query, *gradient, *sums;  /* of each query (width,) twice, and its energy */
    double *partial, *partial_sums;   /* of one share of the training points */
    double *x_of, *slope, *centred;   /* of each structure (pairs,) twice, and (n, 3) */
    double *entries, *product;        /* (padded,) of a query, and a block's coefficients */
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

typedef struct { /* a sum over training points and, where `geometry` says so, what makes a prediction of it */
    PyObject_HEAD
    Py_buffer held[20];
    int n_held, path, geometry;
    Terms t;
    Irrep *irreps;
    Py_ssize_t packs, most, largest; /* of all points, of a block, and the largest dimension */
    Shape shape;
    Py_ssize_t copies, padded, n_plan, block; /* permuted queries, entries with gaps, largest block of them */
    const int32_t *entries;                   /* (copies, padded) of each permuted query, −1 in the gaps */
    const int64_t *plan;
    const double *centre, *matrices;
    double scale, offset;
    Py_ssize_t together, threads, many; /* structures at a time; threads, which are worth it from so many structures on */
    void *kept; /* room that the last call left, and how much there is */
    size_t room;
} Sum;

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
#define ALL(a) ((vec){a, a, a, a})
#define SUMS 12
#define NAME(f) f##_portable
#define ROOT root4
#define LARGER larger4
#define SMALLER smaller4
#include "_loops.h"
#include "_descriptor.h"
#include "_predict.h"
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
#include "_predict.h"
#undef NAME
#undef ROOT
#undef LARGER
#undef SMALLER
#undef vec
#undef ints
#undef LANES
#undef ALL
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
#define ALL(a) ((vec){a, a, a, a, a, a, a, a})
#define SUMS 24
#define NAME(f) f##_avx512
#define ROOT(a) ((vec)_mm512_sqrt_pd((__m512d)(a)))
#define LARGER(a, b) ((vec)_mm512_max_pd((__m512d)(a), (__m512d)(b)))
#define SMALLER(a, b) ((vec)_mm512_min_pd((__m512d)(a), (__m512d)(b)))
#include "_loops.h"
#include "_descriptor.h"
#include "_predict.h"
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

/* Whether the arrays hold a factor's matrices. */
static int factor_of(Factor *f, const Py_buffer *counts, const Py_buffer *there, const Py_buffer *back, Py_ssize_t size,
                     int unit)
{
    *f = (Factor){0, counts->len / 8, size, counts->len / 8 * size, counts->buf, there->buf, back->buf, unit};
    int good = f->kinds > 0 && (f->kinds & (f->kinds - 1)) == 0 && 0 < size && size < 65536;
    for (Py_ssize_t k = 0; good && k < f->kinds; k++) {
        good = 0 < f->counts[k] && f->counts[k] < 65536 && (!unit || (size == 1 && f->counts[k] == 1));
        f->rows += f->counts[k];
    }
    return good && doubles(there) == f->rows * size && doubles(back) == f->rows * size;
}

/* Room for `batch` queries and `count` structures, in units of 64 bytes from `base` on, or with NULL only its size. */
static size_t carve(const Sum *sum, Space *s, char *base, Py_ssize_t batch, Py_ssize_t count)
{
    const Terms *t = &sum->t;
    Py_ssize_t lanes = paths[sum->path].lanes, width = t->width, d = sum->largest;
    Py_ssize_t a = MOST(t->a.rows, t->a.order), b = MOST(t->b.rows, t->b.order);
    Py_ssize_t room = a * b * (2 * lanes * sum->most * batch + 8);
    const struct {
        void *where;
        Py_ssize_t numbers;
    } pieces[] = {{&s->x, room}, {&s->y, room}, {&s->in, MOST(a, b)}, {&s->out, MOST(MOST(a, b), 2 * sum->block)},
                  {&s->spots, d * d * batch}, {&s->begins, d * batch}, {&s->reach, t->a.kinds * t->b.kinds}, {&s->tile, 2 * t->a.kinds * t->b.kinds * lanes},
                  {&s->energy, lanes * batch}, {&s->own, lanes * batch}, {&s->norms, batch}, {&s->query, width * batch},
                  {&s->gradient, width * batch}, {&s->sums, batch},
                  {&s->partial, width * batch}, {&s->partial_sums, batch}, {&s->x_of, sum->shape.pairs * count},
                  {&s->slope, sum->shape.pairs * count}, {&s->centred, 3 * sum->shape.n * count},
                  {&s->entries, sum->padded}, {&s->product, sum->padded}};
    size_t used = 0;
    for (size_t k = 0; k < sizeof(pieces) / sizeof(*pieces); k++) {
        if (base)
            *(void **)pieces[k].where = base + used;
        used += (sizeof(double) * pieces[k].numbers + 63) / 64 * 64;
    }
    return used;
}

/* What the last call left, if it is enough, or more; NULL where there is none. The lock is held. */
static char *take_room(Sum *sum, size_t *bytes)
{
    char *room = sum->kept;
    sum->kept = NULL;
    if (room && sum->room >= *bytes) {
        *bytes = sum->room;
        return room;
    }
    free(room);
    room = (char *)aligned(*bytes / sizeof(double));
    if (room)
        memset(room, 0, *bytes);
    return room;
}

static void leave_room(Sum *sum, char *room, size_t bytes)
{
    free(sum->kept);
    sum->kept = room;
    sum->room = bytes;
}

static PyObject *sum_contract(PyObject *self, PyObject *args)
{
    Sum *sum = (Sum *)self;
    Py_buffer query, energy, gradient;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTuple(args, "y*nnw*w*", &query, &start, &stop, &energy, &gradient))
        return NULL;
    Py_ssize_t batch = doubles(&energy);
    int good = doubles(&query) == batch * sum->t.width && gradient.len == query.len && 0 <= start && start <= stop &&
               stop <= (sum->packs + sum->most - 1) / sum->most, failed = 0;
    if (good && batch) {
        Space s;
        size_t bytes = carve(sum, &s, NULL, batch, 0);
        char *room = take_room(sum, &bytes);
        failed = !room;
        if (room) {
            carve(sum, &s, room, batch, 0);
            Py_BEGIN_ALLOW_THREADS
            ON(sum->path, contract)(&sum->t, &s, start, stop, sum->most, sum->packs, query.buf, batch, energy.buf, gradient.buf);
            Py_END_ALLOW_THREADS
            leave_room(sum, room, bytes);
        }
    }
    Py_buffer *all[] = {&query, &energy, &gradient};
    return finished(all, sizeof(all) / sizeof(*all), good, failed, "contract");
}

typedef struct { /* of a thread: structures to predict, or one share of the training points for queries that are there */
    Sum *sum;
    Space s;
    Py_ssize_t count, together, shares, share;
    const double *r, *query;
    double *energy, *forces, *virial;
} Task;

/* What a share of the training points gives, which is the same however the work is divided. */
static void sum_share(const Task *task, Space *s, const double *query, Py_ssize_t batch, Py_ssize_t share, double *energy,
                      double *gradient)
{
    const Sum *sum = task->sum;
    Py_ssize_t blocks = (sum->packs + sum->most - 1) / sum->most;
    memset(energy, 0, sizeof(double) * batch);
    memset(gradient, 0, sizeof(double) * batch * sum->t.width);
    ON(sum->path, contract)(&sum->t, s, blocks * share / task->shares, blocks * (share + 1) / task->shares, sum->most, sum->packs,
                            query, batch, energy, gradient);
}

static void add(double *restrict to, const double *restrict from, Py_ssize_t n)
{
    for (Py_ssize_t k = 0; k < n; k++)
        to[k] += from[k];
}

static void *one_share(void *given)
{
    Task *task = given;
    sum_share(task, &task->s, task->query, task->count * task->sum->copies, task->share, task->s.sums, task->s.gradient);
    return NULL;
}

static void *some_structures(void *given)
{
    const Task *task = given;
    const Sum *sum = task->sum;
    Space s = task->s;
    Py_ssize_t n = 3 * sum->shape.n;
    for (Py_ssize_t first = 0, count; first < task->count; first += count) {
        count = LEAST(task->together, task->count - first);
        Py_ssize_t batch = count * sum->copies;
        ON(sum->path, begin)(sum, &s, task->r + n * first, count);
        sum_share(task, &s, s.query, batch, 0, s.sums, s.gradient);
        for (Py_ssize_t share = 1; share < task->shares; share++) {
            sum_share(task, &s, s.query, batch, share, s.partial_sums, s.partial);
            add(s.sums, s.partial_sums, batch);
            add(s.gradient, s.partial, batch * sum->t.width);
        }
        ON(sum->path, finish)(sum, &s, count, task->energy + first, task->forces + n * first, task->virial + 9 * first);
    }
    return NULL;
}

/* Each task in a thread of its own, the first in this one. */
static void run_tasks(Task *tasks, Py_ssize_t n, void *(*work)(void *), pthread_t *threads)
{
    Py_ssize_t begun = 1;
    while (begun < n && pthread_create(threads + begun, NULL, work, tasks + begun) == 0)
        begun++;
    work(tasks);
    for (Py_ssize_t k = begun; k < n; k++) /* no more threads to be had */
        work(tasks + k);
    for (Py_ssize_t k = 1; k < begun; k++)
        pthread_join(threads[k], NULL);
}

/* Tasks by structures where there are enough, otherwise by shares of the training points. */
static void predict(Task *tasks, Py_ssize_t n, pthread_t *threads, const Task *whole)
{
    const Sum *sum = whole->sum;
    Py_ssize_t size = 3 * sum->shape.n;
    if (n == 1 || whole->count >= n) {
        for (Py_ssize_t k = 0; k < n; k++) {
            Py_ssize_t first = whole->count * k / n, stop = whole->count * (k + 1) / n;
            Space s = tasks[k].s;
            tasks[k] = *whole;
            tasks[k].s = s;
            tasks[k].count = stop - first;
            tasks[k].r += size * first;
            tasks[k].energy += first;
            tasks[k].forces += size * first;
            tasks[k].virial += 9 * first;
        }
        run_tasks(tasks, n, some_structures, threads);
        return;
    }
    Space *s = &tasks[0].s;
    Py_ssize_t batch = whole->count * sum->copies;
    ON(sum->path, begin)(sum, s, whole->r, whole->count);
    for (Py_ssize_t k = 0; k < n; k++) {
        Space own = tasks[k].s;
        tasks[k] = *whole;
        tasks[k].s = own;
        tasks[k].share = k;
        tasks[k].query = s->query;
    }
    run_tasks(tasks, n, one_share, threads);
    for (Py_ssize_t k = 1; k < n; k++) {
        add(s->sums, tasks[k].s.sums, batch);
        add(s->gradient, tasks[k].s.gradient, batch * sum->t.width);
    }
    ON(sum->path, finish)(sum, s, whole->count, whole->energy, whole->forces, whole->virial);
}

/* Energies, forces and virials of so many structures; whether there was room for it. The lock is held. */
static int predict_all(Sum *sum, Py_ssize_t count, const double *r, double *energy, double *forces, double *virial)
{
    Py_ssize_t n = count < sum->many ? 1 : sum->threads, most = LEAST(sum->together, count);
    Task whole = {sum, {0}, count, sum->together, sum->threads, 0, r, NULL, energy, forces, virial};
    size_t each = carve(sum, &whole.s, NULL, most * sum->copies, most), bytes = n * each;
    Task *tasks = malloc(sizeof(Task) * n);
    pthread_t *threads = malloc(sizeof(pthread_t) * n);
    char *room = tasks && threads ? take_room(sum, &bytes) : NULL;
    for (Py_ssize_t k = 0; room && k < n; k++)
        carve(sum, &tasks[k].s, room + k * each, most * sum->copies, most);
    if (room) {
        Py_BEGIN_ALLOW_THREADS
        predict(tasks, n, threads, &whole);
        Py_END_ALLOW_THREADS
        leave_room(sum, room, bytes);
    }
    free(tasks);
    free(threads);
    return room != NULL;
}

static PyObject *sum_predict(PyObject *self, PyObject *args)
{
    Sum *sum = (Sum *)self;
    Py_buffer r, energy, forces, virial;
    if (!PyArg_ParseTuple(args, "y*w*w*w*", &r, &energy, &forces, &virial))
        return NULL;
    Py_ssize_t count = doubles(&energy), size = 3 * sum->shape.n;
    int good = sum->geometry && doubles(&r) == count * size && forces.len == r.len && doubles(&virial) == 9 * count;
    int failed = good && count && !predict_all(sum, count, r.buf, energy.buf, forces.buf, virial.buf);
    Py_buffer *all[] = {&r, &energy, &forces, &virial};
    return finished(all, sizeof(all) / sizeof(*all), good, failed, "predict");
}

/* The atoms at some sites of a frame. */
static void gather(Py_ssize_t n, const int64_t *sites, const double *frame, double *packed)
{
    for (Py_ssize_t k = 0; k < n; k++)
        memcpy(packed + 3 * k, frame + 3 * sites[k], 3 * sizeof(double));
}

/* What they are pulled by, added to that of all atoms. */
static void scatter(Py_ssize_t n, const int64_t *sites, double *frame, const double *packed)
{
    for (Py_ssize_t k = 0; k < n; k++)
        add(frame + 3 * sites[k], packed + 3 * k, 3);
}

static PyObject *sum_add(PyObject *self, PyObject *args)
{
    Sum *sum = (Sum *)self;
    Py_buffer r, sites, energy, forces, virial;
    if (!PyArg_ParseTuple(args, "y*y*w*w*w*", &r, &sites, &energy, &forces, &virial))
        return NULL;
    Py_ssize_t n = sum->shape.n, frames = doubles(&virial) / 9, size = frames ? doubles(&r) / frames : 0;
    Py_ssize_t copies = sum->geometry ? sites.len / 8 / n : 0, count = frames * copies;
    const int64_t *site = sites.buf;
    int good = sum->geometry && doubles(&virial) == 9 * frames && doubles(&r) == frames * size && size % 3 == 0 &&
               sites.len == 8 * n * copies && doubles(&energy) == count && forces.len == r.len, failed = 0;
    for (Py_ssize_t k = 0; good && frames && k < n * copies; k++)
        good = 0 <= site[k] && site[k] < size / 3;
    if (good && count) {
        double *packed = aligned((6 * n + 9) * count), *pulls = packed + 3 * n * count, *strains = pulls + 3 * n * count;
        for (Py_ssize_t k = 0; packed && k < count; k++)
            gather(n, site + k % copies * n, (double *)r.buf + k / copies * size, packed + 3 * n * k);
        failed = !packed || !predict_all(sum, count, packed, energy.buf, pulls, strains);
        for (Py_ssize_t k = 0; !failed && k < count; k++) {
            scatter(n, site + k % copies * n, (double *)forces.buf + k / copies * size, pulls + 3 * n * k);
            add((double *)virial.buf + k / copies * 9, strains + 9 * k, 9);
        }
        free(packed);
    }
    Py_buffer *all[] = {&r, &sites, &energy, &forces, &virial};
    return finished(all, sizeof(all) / sizeof(*all), good, failed, "add");
}

/* Whether the plan stays within its arrays. */
static int plan_is_good(Sum *sum, Py_ssize_t entries, Py_ssize_t matrices)
{
    Py_ssize_t lanes = paths[sum->path].lanes, kinds = sum->t.a.kinds * sum->t.b.kinds, width = sum->t.width;
    const int64_t *at = sum->plan, *end = at + sum->n_plan;
    while (at < end) {
        if (end - at < 4)
            return 0;
        Py_ssize_t orbits = at[0], room = at[1], size = at[2], n_sizes = at[3], left = size;
        at += 4;
        if (!(0 < orbits && orbits <= room && room < 1 << 30 && room % lanes == 0 && 0 < size && size < 1 << 24 && 0 < n_sizes &&
              n_sizes <= size && end - at > n_sizes + size))
            return 0;
        for (Py_ssize_t k = 0; k < n_sizes; k++, at++) {
            if (!(0 < *at && *at <= kinds && (*at & (*at - 1)) == 0))
                return 0;
            left -= *at;
        }
        for (Py_ssize_t k = 0; k < size; k++, at++)
            if (!(0 <= *at && *at <= width - orbits))
                return 0;
        for (Py_ssize_t groups = *at++; groups; groups--) {
            if (groups < 0 || end - at < 2 || !(0 < at[0] && at[0] <= size && 0 < at[1] && at[1] <= size) ||
                end - at < 2 + at[0] + at[1])
                return 0;
            Py_ssize_t indices = at[0] + at[1];
            matrices -= 2 * at[0] * at[1];
            for (at += 2; indices; indices--, at++)
                if (!(0 <= *at && *at < size))
                    return 0;
        }
        entries -= size * room;
        sum->block = MOST(sum->block, size);
        if (left)
            return 0;
    }
    return entries == 0 && matrices == 0;
}

/* Whether there are as many pairs as there should be, all of them of atoms, and a scale for each if any. */
static int shape_of(Shape *m, Py_ssize_t n, const Py_buffer *ends, const Py_buffer *scales, int halves, double decay)
{
    int good = 0 < n && n < 1 << 24 && ends->len % 8 == 0 && halves > 0 && decay >= 0.0;
    *m = (Shape){n, n * (n - 1) / 2, NULL, NULL, halves, decay};
    if (good && ends->len) {
        m->ends = ends->buf;
        m->pairs = ends->len / 8;
        for (Py_ssize_t k = 0; good && k < 2 * m->pairs; k++)
            good = 0 <= m->ends[k] && m->ends[k] < n;
    }
    if (scales && scales->len)
        m->scales = scales->buf;
    return good && (!m->scales || doubles(scales) == m->pairs);
}

/* The arrays are held until the object goes. */
static int sum_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    Sum *sum = (Sum *)self;
    PyObject *geometry = NULL;
    Py_buffer *held = sum->held;
    Py_buffer *shapes = held, *place = held + 1, *a = held + 2, *b = held + 5, *rows = held + 8, *norms = held + 9;
    Py_buffer *products = held + 10, *weights = held + 11, *ends = held + 12, *scales = held + 13, *centre = held + 14;
    Py_buffer *entries = held + 15, *plan = held + 16, *matrices = held + 17;
    Py_ssize_t size_a, size_b, n;
    int unit_a, unit_b, halves;
    double decay;
    Terms *t = &sum->t;
    if (sum->n_held)
        return PyErr_Format(PyExc_TypeError, "a Sum is made once"), -1;
    if (!PyArg_ParseTuple(args, "iy*y*(y*y*y*ni)(y*y*y*ni)y*y*y*y*dn|O", &sum->path, shapes, place, a, a + 1, a + 2, &size_a,
                          &unit_a, b, b + 1, b + 2, &size_b, &unit_b, rows, norms, products, weights, &t->sigma, &sum->most,
                          &geometry))
        return -1;
    sum->n_held = 12;
    const int64_t *shape = shapes->buf;
    Py_ssize_t first = 0;
    int good = 0 <= sum->path && sum->path <= BEST_PATH && 0 < sum->most && sum->most < 65536 && shapes->len >= 16 &&
               factor_of(&t->a, a, a + 1, a + 2, size_a, unit_a) && factor_of(&t->b, b, b + 1, b + 2, size_b, unit_b);
    Py_ssize_t lanes = good ? paths[sum->path].lanes : 1;
    t->n_irreps = shapes->len / 16;
    t->irreps = sum->irreps = malloc(sizeof(Irrep) * (t->n_irreps + 1));
    if (!sum->irreps)
        return PyErr_NoMemory(), -1;
    for (Py_ssize_t r = 0; good && r < t->n_irreps; r++) {
        Irrep irrep = {shape[2 * r], shape[2 * r + 1], t->width, first};
        good = irrep.d > 0 && irrep.d < 65536 && irrep.n > 0;
        sum->irreps[r] = irrep;
        t->width += irrep.d * irrep.n;
        first += irrep.d * irrep.d;
        sum->largest = MOST(sum->largest, irrep.d);
    }
    t->place = place->buf;
    good = good && doubles(norms) % lanes == 0 && place->len == 8 * first && doubles(rows) == 2 * doubles(norms) * t->width &&
           products->len == norms->len && (weights->len == 0 || weights->len == norms->len);
    for (Py_ssize_t k = 0; good && k < first; k++)
        good = 0 <= t->place[k] && t->place[k] < t->a.rows * t->b.rows;
    t->complete = first == t->a.rows * t->b.rows;
    t->rows = rows->buf;
    t->norms = norms->buf;
    t->products = products->buf;
    t->energy_weights = weights->len ? weights->buf : NULL;
    sum->packs = doubles(norms) / lanes;
    if (good && geometry) {
        if (!PyArg_ParseTuple(geometry, "n(y*y*id)y*ny*y*y*ddnnn", &n, ends, scales, &halves, &decay, centre, &sum->copies,
                              entries, plan, matrices, &sum->scale, &sum->offset, &sum->together, &sum->threads, &sum->many))
            return -1;
        sum->n_held = 18;
        sum->centre = centre->buf;
        sum->entries = entries->buf;
        sum->plan = plan->buf;
        sum->n_plan = plan->len / 8;
        sum->matrices = matrices->buf;
        good = shape_of(&sum->shape, n, ends, scales, halves, decay) && doubles(centre) == sum->shape.pairs && sum->copies > 0 &&
               entries->len % (4 * sum->copies) == 0 && 0 < sum->together && sum->together < 65536 && 0 < sum->threads &&
               sum->threads < 65536;
        sum->padded = good ? entries->len / 4 / sum->copies : 0;
        for (Py_ssize_t k = 0; good && k < sum->padded * sum->copies; k++)
            good = -1 <= sum->entries[k] && sum->entries[k] < sum->shape.pairs;
        sum->geometry = good = good && plan_is_good(sum, sum->padded, doubles(matrices));
    }
    if (!good)
        return PyErr_SetString(PyExc_ValueError, "Sum: sizes of the arrays do not agree"), -1;
    return 0;
}

static void sum_dealloc(PyObject *self)
{
    Sum *sum = (Sum *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int k = 0; k < sum->n_held; k++)
        PyBuffer_Release(sum->held + k);
    free(sum->irreps);
    free(sum->kept);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef sum_methods[] = {
    {"contract", sum_contract, METH_VARARGS, "contract(query, start, stop, energy, gradient): add the sum over some blocks."},
    {"predict", sum_predict, METH_VARARGS, "predict(positions, energy, forces, virial): of structures."},
    {"add", sum_add, METH_VARARGS,
     "add(positions, sites, energy, forces, virial): energies of what stands at (K, n) sites of frames; the rest is added."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot sum_slots[] = {{Py_tp_init, sum_init}, {Py_tp_dealloc, sum_dealloc}, {Py_tp_methods, sum_methods},
                                  {Py_tp_doc, "Training points, the sum over them, and what a prediction needs besides."}, {0, NULL}};

static PyType_Spec sum_spec = {"delta_server.gdml.compiled._compiled.Sum", sizeof(Sum), 0, Py_TPFLAGS_DEFAULT, sum_slots};

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
    int good = shape_of(&m, n, &ends, &scales, halves, decay) && doubles(&r) % (3 * n) == 0 &&
               doubles(&x) == doubles(&r) / (3 * n) * m.pairs && slope.len == x.len && centred.len == r.len;
    if (good) {
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
    int good = shape_of(&m, n, &ends, NULL, 2, 0.0) && doubles(&r) % (3 * n) == 0 &&
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
    PyObject *type = names ? PyType_FromSpec(&sum_spec) : NULL;
    if (!type || PyModule_AddObjectRef(made, "paths", names) < 0 || PyModule_AddObjectRef(made, "Sum", type) < 0)
        Py_CLEAR(made);
    Py_XDECREF(type);
    Py_XDECREF(names);
    return made;
}
