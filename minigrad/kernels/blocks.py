"""One rectangle of a matrix product on one thread, cut for the caches, with both operands packed.

In a rectangle of C = A B, K is cut into blocks of at most `DEPTH` steps, always at the same places.
In such a block one operand stays in the second-level cache while the other one passes by, and a
tile multiplies `TILE_ROWS` rows of A by a panel of columns of B: `TILE_VECTORS` vectors wide.

B is packed into panels. A is read where it lies if its rows are contiguous, and packed if its
columns are (X^T dY). Strides do the rest.
"""
from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import VECTOR_BYTES, at, copy, lanes_of, load, store, transpose
from minigrad.kernels.tiles import RUN, TILE_ROWS, TILE_VECTORS, tile_of

DEPTH = 384                                          # steps of k in a block, at most
PACKED_DEPTH = 192                                   # where A is packed: two blocks must fit
# Bytes of the resident block: of a second-level cache of 1 MiB and more (AVX-512) or 256 KiB.
BLOCK = (768 if VECTOR_BYTES == 64 else 192) * 1024
PAGE = 4096                                          # bytes
# Row tiles for which B is not worth packing: a row of a panel is four cache lines, or one.
READ_TILES = 32 if VECTOR_BYTES == 64 else 8


@helper(inline=True)
def steps(x):
    """How many elements lie between two rows, and two columns."""
    size = VECTOR_BYTES // lanes_of(x)               # bytes; a constant, as x.itemsize is not
    return x.strides[0] // size, x.strides[1] // size

@helper(inline=True)
def parts(n, size):
    """How many parts of a size cover n."""
    return (n + size - 1) // size

@helper(inline=True)
def even(n, most, multiple):
    """Return the size of blocks, a multiple of `multiple`, that cut n into equal parts."""
    n_parts = max(1, parts(n, most))
    return max(1, parts(n, n_parts * multiple)) * multiple


# ---- packing ----

@helper
def _pack_panel(b, k0, kc, j0, n, width, out, o):
    """out[o + k width + j] = b[k0 + k, j0 + j] for j < n; the rest of the width is 0."""
    step = lanes_of(out)
    rsb, csb = steps(b)
    first = k0 * rsb + j0 * csb
    if csb == 1 and n == TILE_VECTORS * step:
        for k in range(kc):
            for v in range(TILE_VECTORS):
                x = load(at(b, first + k * rsb), v * step)
                store(x, at(out, o + k * width), v * step)
        return
    ks = js = 0                                      # what whole square blocks cover
    if rsb == 1:
        ks, js = kc // step * step, n // step * step
        for k in range(0, ks, step):
            for j in range(0, js, step):
                square = at(b, first + k + j * csb)
                place = at(out, o + k * width + j)
                transpose(step, square, csb, place, width)
    for k in range(kc):
        row = o + k * width
        for j in range(js if k < ks else 0, n):
            out[row + j] = b[k0 + k, j0 + j]
        for j in range(n, width):
            out[row + j] = 0


@helper
def _pack_rows(a, i0, m, k0, kc, out, o):
    """out[o + t R kc + k R + r] = a[i0 + t R + r, k0 + k], tile t by tile of R rows, for m rows.

    If columns are contiguous, a step is copied with two numbers too many, one vector in place of
    two; the next step overwrites them. Rows beyond m are junk.
    """
    rsa, csa = steps(a)
    tiles = parts(m, TILE_ROWS)
    roomy = 0
    if rsa == 1 and csa >= TILE_ROWS + 2:
        roomy = min(kc - 1, a.shape[1] - 1 - k0)
    for k in range(roomy):
        for t in range(tiles):
            place = at(out, o + (t * kc + k) * TILE_ROWS)
            column = at(a, i0 + t * TILE_ROWS + (k0 + k) * csa)
            copy(place, column, TILE_ROWS + 2)
    for t in range(tiles):
        for k in range(roomy, kc):
            place = o + (t * kc + k) * TILE_ROWS
            for r in range(TILE_ROWS):
                i = t * TILE_ROWS + r
                x = a[i0 + i, k0 + k] if i < m else 0
                out[place + r] = x


# ---- tiles ----

_tiles = [tile_of(TILE_ROWS, n) for n in range(1, TILE_VECTORS + 1)]
_tile_1, _tile_2 = _tiles[:2]
_tile_3, _tile_4 = _tiles[-2:]                       # not used, and not compiled, where 2 are most

@helper
def _multiply_tile(kc, rows, panel, ahead, c, i, m, j, n, add, bias, scratch):
    """Set C[i:i + m, j:j + n], at most a tile, to the product (+ what is there) (+ bias).

    `rows` is where rows of A begin, with both steps; `panel` where those of B do, with one;
    `ahead` what to ask the memory for, with a stride. A tile that is not whole goes by `scratch`.
    """
    asked, stride = ahead
    vectors = parts(n, lanes_of(c))
    width = vectors * lanes_of(c)
    whole = m == TILE_ROWS and n == width
    target, ldc = at(scratch, 0), width
    if whole:
        ldc, _ = steps(c)
        target = at(c, i * ldc + j)
    adds = add and whole
    if vectors == 4:
        _tile_4(kc, rows, panel, target, ldc, adds, asked, stride)
    elif vectors == 3:
        _tile_3(kc, rows, panel, target, ldc, adds, asked, stride)
    elif vectors == 2:
        _tile_2(kc, rows, panel, target, ldc, adds, asked, stride)
    else:
        _tile_1(kc, rows, panel, target, ldc, adds, asked, stride)
    if not whole:
        put_corner(c, i, m, j, n, add, scratch, width)
    if bias.size:
        for r in range(m):
            for s in range(n):
                c[i + r, j + s] += bias[j + s]


@helper
def put_corner(c, i, m, j, n, add, tile, width):
    """Put the valid corner of a tile at its place in C."""
    for r in range(m):
        for s in range(n):
            x = tile[r * width + s]
            if add:
                x += c[i + r, j + s]
            c[i + r, j + s] = x


# ---- one rectangle of C ----

@helper
def rectangle(a, b, c, bias, box, add, work):
    """C[m0:m1, n0:n1] (+)= A B + bias, on one thread.

    One operand stays in the cache, a block at a time: B, while the row tiles of A pass by; or,
    where A must be packed and is the smaller one, A, while the panels of B pass by.
    """
    m0, m1, n0, n1 = box
    size, depth = c.itemsize, a.shape[1]
    wide = TILE_VECTORS * lanes_of(c)
    m, n = m1 - m0, n1 - n0
    packed = a.strides[1] != size
    a_stays = m <= n if packed else m <= 8 * TILE_ROWS
    kb = even(depth, PACKED_DEPTH if packed else DEPTH, RUN)
    rows, columns = BLOCK // (DEPTH * size), BLOCK // (kb * size)   # of the one that stays
    mc = even(m, rows // TILE_ROWS * TILE_ROWS, TILE_ROWS) if a_stays else m
    nc = n if a_stays else even(n, columns // wide * wide, wide)
    for j in range(n0, n1, nc):
        for i in range(m0, m1, mc):
            for k in range(0, max(depth, 1), kb):
                i1 = min(i + mc, m1)
                j1 = min(j + nc, n1)
                block = i, i1, j, j1, k, min(k + kb, depth)
                at_last = bias if k + kb >= depth else bias[:0]
                adds = add or k > 0
                if a_stays:
                    _pass_b_by(a, b, c, at_last, block, adds, work)
                else:
                    _pass_a_by(a, b, c, at_last, block, adds, work)


@helper
def _pass_b_by(a, b, c, bias, box, add, work):
    """Add one block of k to a box of C: A stays in `work`, the panels of B pass by behind it."""
    i0, i1, j0, j1, k0, k1 = box
    rsa, csa = steps(a)
    rsb, csb = steps(b)
    kc = k1 - k0
    step, space = lanes_of(c), BLOCK // c.itemsize
    wide = TILE_VECTORS * step
    scratch = work[work.size - TILE_ROWS * wide:]
    tiles = parts(i1 - i0, TILE_ROWS)
    there = (i1 - i0) // TILE_ROWS if csa == 1 else 0   # tiles of A that are read where they lie
    i = i0 + there * TILE_ROWS
    packed = there * TILE_ROWS * kc
    _pack_rows(a, i, i1 - i, k0, kc, work, packed)
    aliased = rsb * c.itemsize % PAGE == 0              # rows that compete for the same cache lines
    read_b = csb == 1 and tiles <= READ_TILES and not aliased
    for j in range(j0, j1, wide):
        n = min(wide, j1 - j)
        panel = at(b, k0 * rsb + j), rsb
        if not (read_b and n == wide):
            width = parts(n, step) * step
            _pack_panel(b, k0, kc, j, n, width, work, space)
            panel = at(work, space), width
        for t in range(tiles):
            i = i0 + t * TILE_ROWS
            rows = at(a, i * rsa + k0), rsa, csa
            if t >= there:
                rows = at(work, t * TILE_ROWS * kc), 1, TILE_ROWS
            m = min(TILE_ROWS, i1 - i)
            ahead = _ahead_of_panels(a, b, box, j, t, tiles, wide)
            _multiply_tile(kc, rows, panel, ahead, c, i, m, j, n, add, bias, scratch)


@helper(inline=True)
def _ahead_of_panels(a, b, box, j, t, tiles, wide):
    """Where to ask the memory for the next panel of B and, with that done, the next block of A."""
    i0, _, j0, _, k0, k1 = box
    _, csa = steps(a)
    rsb, csb = steps(b)
    kc = k1 - k0
    runs = parts(kc, RUN)                              # requests that a tile makes
    row = t * runs
    if row < kc and csb == 1:
        return at(b, (k0 + row) * rsb + j + wide), rsb
    if row < kc:
        column = j + wide + t % wide
        return at(b, k0 + column * csb), RUN
    p = (j - j0) // wide
    asked = p * (tiles * runs - kc) + row - kc
    i, k = i0 + asked // kc * wide, k1 + asked % kc
    return at(a, i + k * csa), csa


@helper
def _pass_a_by(a, b, c, bias, box, add, work):
    """Add one block of k to a box of C: B stays in `work`, the rows of A pass by behind it."""
    i0, i1, j0, j1, k0, k1 = box
    (rsa, csa), kc = steps(a), k1 - k0
    step, space = lanes_of(c), BLOCK // c.itemsize
    wide = TILE_VECTORS * step
    scratch = work[work.size - TILE_ROWS * wide:]
    group = 1 if csa == 1 else wide // TILE_ROWS        # row tiles that are packed at once
    for j in range(j0, j1, wide):
        n = min(wide, j1 - j)
        width = parts(n, step) * step
        place = (j - j0) * kc
        _pack_panel(b, k0, kc, j, n, width, work, place)
    for t in range(parts(i1 - i0, TILE_ROWS)):
        i = i0 + t * TILE_ROWS
        m = min(TILE_ROWS, i1 - i)
        rows = at(a, i * rsa + k0), rsa, csa
        if csa != 1 or m < TILE_ROWS:
            if t % group == 0:
                rows_at_once = min(group * TILE_ROWS, i1 - i)
                _pack_rows(a, i, rows_at_once, k0, kc, work, space)
            rows = at(work, space + t % group * TILE_ROWS * kc), 1, TILE_ROWS
        for j in range(j0, j1, wide):
            n = min(wide, j1 - j)
            width = parts(n, step) * step
            panel = at(work, (j - j0) * kc), width
            ahead = _ahead_of_rows(a, box, j, t, wide)
            _multiply_tile(kc, rows, panel, ahead, c, i, m, j, n, add, bias, scratch)


@helper(inline=True)
def _ahead_of_rows(a, box, j, t, wide):
    """Where to ask the memory for the next rows of A."""
    i0, _, j0, j1, k0, k1 = box
    (rsa, csa), kc = steps(a), k1 - k0
    p, panels = (j - j0) // wide, parts(j1 - j0, wide)
    if csa == 1:
        row = i0 + (t + 1) * TILE_ROWS + p % TILE_ROWS
        return at(a, row * rsa + k0), RUN
    strip = t * TILE_ROWS // wide + 1
    k = k0 + (t * panels + p) * parts(kc, RUN) % kc
    return at(a, i0 + strip * wide + k * csa), csa
