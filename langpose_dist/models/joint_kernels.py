"""The Triton kernels of ``joint_attention``, which imports this where Triton is installed.

J, D, d and TILE are numbers that Triton compiles in: joints of a frame, features of a joint and of a head,
rows of a tile.
"""

import triton
import triton.language as tl


@triton.jit
def _load(start, rows, columns, num_rows, num_columns):
    return tl.load(start + rows[:, None] * num_columns + columns[None, :], rows[:, None] < num_rows, 0.0)


@triton.jit
def _weights(q, k, rows, num_rows, scale, J: tl.constexpr):
    """Softmax over the keys of a row's own frame."""
    is_own = (rows[:, None] // J == rows[None, :] // J) & (rows[None, :] < num_rows)
    # A row past the end sees itself, so that no softmax is empty.
    is_own = is_own | (rows[:, None] == rows[None, :])
    scores = tl.where(is_own, tl.dot(q, tl.trans(k), input_precision="ieee") * scale, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None]


@triton.jit
def forward_kernel(
    qkv, output, num_rows, scale, J: tl.constexpr, D: tl.constexpr, d: tl.constexpr, TILE: tl.constexpr
):
    offsets = tl.arange(0, TILE)
    first = tl.program_id(0) * (TILE // J * J)
    num_rows = tl.minimum(num_rows - first, TILE // J * J)
    columns = tl.program_id(1) * d + tl.arange(0, d)
    # 64 bits: a batch of 128 windows has more elements than 32 bits count.
    qkv += first.to(tl.int64) * 3 * D
    q = _load(qkv, offsets, columns, num_rows, 3 * D)
    k = _load(qkv + D, offsets, columns, num_rows, 3 * D)
    v = _load(qkv + 2 * D, offsets, columns, num_rows, 3 * D)
    weights = _weights(q, k, offsets, num_rows, scale, J)
    mixed = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
    place = output + first.to(tl.int64) * D + offsets[:, None] * D + columns[None, :]
    tl.store(place, mixed.to(v.dtype), offsets[:, None] < num_rows)


@triton.jit
def backward_kernel(
    qkv, gradient, gradient_qkv, num_rows, scale,
    J: tl.constexpr, D: tl.constexpr, d: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    offsets = tl.arange(0, TILE)
    first = tl.program_id(0) * (TILE // J * J)
    num_rows = tl.minimum(num_rows - first, TILE // J * J)
    columns = tl.program_id(1) * d + tl.arange(0, d)
    qkv += first.to(tl.int64) * 3 * D
    q = _load(qkv, offsets, columns, num_rows, 3 * D)
    k = _load(qkv + D, offsets, columns, num_rows, 3 * D)
    v = _load(qkv + 2 * D, offsets, columns, num_rows, 3 * D)
    upstream = _load(gradient + first.to(tl.int64) * D, offsets, columns, num_rows, D)
    weights = _weights(q, k, offsets, num_rows, scale, J)
    into_v = tl.dot(tl.trans(weights.to(v.dtype)), upstream, input_precision="ieee")
    into_weights = tl.dot(upstream, tl.trans(v), input_precision="ieee")
    shared = tl.sum(weights * into_weights, 1)[:, None]
    into_scores = (weights * (into_weights - shared) * scale).to(q.dtype)
    into_q = tl.dot(into_scores, k, input_precision="ieee")
    into_k = tl.dot(tl.trans(into_scores), q, input_precision="ieee")
    place = gradient_qkv + first.to(tl.int64) * 3 * D + offsets[:, None] * 3 * D + columns[None, :]
    tl.store(place, into_q.to(q.dtype), offsets[:, None] < num_rows)
    tl.store(place + D, into_k.to(q.dtype), offsets[:, None] < num_rows)
    tl.store(place + 2 * D, into_v.to(q.dtype), offsets[:, None] < num_rows)
