#include "expand_dense/expand_dense.h"

#include <algorithm>

#include "common/tensor.h"

namespace rotfast {
namespace {

struct DenseShape {
  int64_t M, L, tasks;
  int64_t U_step, v_step, g_step;  // elements between tasks, 0 for an argument that all tasks share

  int64_t blocks() const { return (M + kDenseBlock - 1) / kDenseBlock; }
  int64_t grain() const { return 1 + 50000 / (kDenseBlock * (L + 1) * (tasks + 1)); }
};

struct Block {
  Block(const DenseShape& s, int64_t index)
      : first(index * kDenseBlock), rows(std::min(kDenseBlock, s.M - index * kDenseBlock)) {}
  int64_t first, rows;
};

template <class T>
ROTFAST_CLONES void expand_blocks(
    const DenseShape& s, const T* U, const T* v, T* W, int64_t begin, int64_t end) {
  std::vector<T> columns(s.L * kDenseBlock);
  for (int64_t index = begin; index < end; ++index) {
    const Block block(s, index);
    for (int64_t t = 0; t < s.tasks; ++t) {
      if (t == 0 || s.U_step != 0) {
        transpose_rows(U + t * s.U_step + block.first * s.L, block.rows, s.L, columns.data());
      }
      dense_rows(columns.data(), block.rows, s.L, v + t * s.v_step, W + t * s.M + block.first);
    }
  }
}

// partial[block, task, l]: summed by the caller in block order, whatever the number of threads.
template <class T>
ROTFAST_CLONES void latent_grad_blocks(
    const DenseShape& s, const T* U, const T* g, T* partial, int64_t begin, int64_t end) {
  std::vector<T> columns(s.L * kDenseBlock);
  for (int64_t index = begin; index < end; ++index) {
    const Block block(s, index);
    for (int64_t t = 0; t < s.tasks; ++t) {
      if (t == 0 || s.U_step != 0) {
        transpose_rows(U + t * s.U_step + block.first * s.L, block.rows, s.L, columns.data());
      }
      T* out = partial + (index * s.tasks + t) * s.L;
      std::fill(out, out + s.L, T(0));
      dense_latent_grad(columns.data(), block.rows, s.L, g + t * s.g_step + block.first, out);
    }
  }
}

// U_step == 0: one gradient, summed over tasks.
template <class T>
ROTFAST_CLONES void sharing_grad_blocks(
    const DenseShape& s, const T* g, const T* v, T* gU, int64_t begin, int64_t end) {
  std::vector<T> columns(s.L * kDenseBlock);
  for (int64_t index = begin; index < end; ++index) {
    const Block block(s, index);
    for (int64_t t = 0; t < s.tasks; ++t) {
      if (t == 0 || s.U_step != 0) std::fill(columns.begin(), columns.end(), T(0));
      dense_outer(g + t * s.g_step + block.first, block.rows, s.L, v + t * s.v_step, columns.data());
      if (t + 1 < s.tasks && s.U_step == 0) continue;
      transpose_block<true>(gU + t * s.U_step + block.first * s.L, block.rows, s.L, columns.data());
    }
  }
}

Tensor expand_dense(const Tensor& U_, const Tensor& v_) {
  check_like("v", v_, U_);
  STD_TORCH_CHECK(U_.size(-1) == v_.size(-1), "expand_dense: U and v differ in L");
  const Tensor U = torch::stable::contiguous(U_), v = torch::stable::contiguous(v_);
  const int64_t M = U.size(-2), L = U.size(-1);
  const bool batched = U.dim() > 2 || v.dim() > 1;
  const int64_t tasks = batched ? common_tasks({task_count(U, 2), task_count(v, 1)}) : 1;
  const DenseShape s{M, L, tasks, U.dim() > 2 ? M * L : 0, v.dim() > 1 ? L : 0, M};
  Tensor W = new_result(U, batched ? std::vector<int64_t>{tasks, M} : std::vector<int64_t>{M});
  ROTFAST_DISPATCH(U.scalar_type(), "expand_dense", {
    const scalar_t *sharing = data<scalar_t>(U), *latent = data<scalar_t>(v);
    scalar_t* out = mutable_data<scalar_t>(W);
    torch::stable::parallel_for(0, s.blocks(), s.grain(), [&](int64_t begin, int64_t end) {
      expand_blocks<scalar_t>(s, sharing, latent, out, begin, end);
    });
  });
  return W;
}

// gv[l] = sum_m U[m,l] g[m]; summed over tasks unless `per_task`.
Tensor expand_dense_latent_grad(const Tensor& U_, const Tensor& g_, bool per_task) {
  check_like("g", g_, U_);
  STD_TORCH_CHECK(U_.size(-2) == g_.size(-1), "expand_dense_latent_grad: U and g differ in M");
  const Tensor U = torch::stable::contiguous(U_), g = torch::stable::contiguous(g_);
  const int64_t M = U.size(-2), L = U.size(-1);
  const bool batched = U.dim() > 2 || g.dim() > 1;
  STD_TORCH_CHECK(batched || !per_task, "expand_dense_latent_grad: per_task needs a task dimension");
  const int64_t tasks = batched ? common_tasks({task_count(U, 2), task_count(g, 1)}) : 1;
  const DenseShape s{M, L, tasks, U.dim() > 2 ? M * L : 0, 0, g.dim() > 1 ? M : 0};
  Tensor gv =
      torch::stable::new_zeros(U, per_task ? std::vector<int64_t>{tasks, L} : std::vector<int64_t>{L});
  ROTFAST_DISPATCH(U.scalar_type(), "expand_dense_latent_grad", {
    std::vector<scalar_t> partial(s.blocks() * tasks * L);
    const scalar_t *sharing = data<scalar_t>(U), *grad = data<scalar_t>(g);
    torch::stable::parallel_for(0, s.blocks(), s.grain(), [&](int64_t begin, int64_t end) {
      latent_grad_blocks<scalar_t>(s, sharing, grad, partial.data(), begin, end);
    });
    scalar_t* out = mutable_data<scalar_t>(gv);
    for (int64_t index = 0; index < s.blocks() * tasks; ++index) {
      const int64_t row = per_task ? index % tasks : 0;
      for (int64_t l = 0; l < L; ++l) out[row * L + l] += partial[index * L + l];
    }
  });
  return gv;
}

// gU[m,l] = g[m] v[l]; summed over tasks unless `per_task`.
Tensor expand_dense_sharing_grad(const Tensor& g_, const Tensor& v_, bool per_task) {
  check_like("v", v_, g_);
  const Tensor g = torch::stable::contiguous(g_), v = torch::stable::contiguous(v_);
  const int64_t M = g.size(-1), L = v.size(-1);
  const bool batched = g.dim() > 1 || v.dim() > 1;
  STD_TORCH_CHECK(batched || !per_task, "expand_dense_sharing_grad: per_task needs a task dimension");
  const int64_t tasks = batched ? common_tasks({task_count(g, 1), task_count(v, 1)}) : 1;
  const DenseShape s{M, L, tasks, per_task ? M * L : 0, v.dim() > 1 ? L : 0, g.dim() > 1 ? M : 0};
  const std::vector<int64_t> sizes =
      per_task ? std::vector<int64_t>{tasks, M, L} : std::vector<int64_t>{M, L};
  if (tasks == 0) return torch::stable::new_zeros(g, sizes);
  Tensor gU = new_result(g, sizes);
  ROTFAST_DISPATCH(g.scalar_type(), "expand_dense_sharing_grad", {
    const scalar_t *grad = data<scalar_t>(g), *latent = data<scalar_t>(v);
    scalar_t* out = mutable_data<scalar_t>(gU);
    torch::stable::parallel_for(0, s.blocks(), s.grain(), [&](int64_t begin, int64_t end) {
      sharing_grad_blocks<scalar_t>(s, grad, latent, out, begin, end);
    });
  });
  return gU;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("expand_dense(Tensor U, Tensor v) -> Tensor");
  m.def("expand_dense_latent_grad(Tensor U, Tensor g, bool per_task) -> Tensor");
  m.def("expand_dense_sharing_grad(Tensor g, Tensor v, bool per_task) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("expand_dense", TORCH_BOX(&rotfast::expand_dense));
  m.impl("expand_dense_latent_grad", TORCH_BOX(&rotfast::expand_dense_latent_grad));
  m.impl("expand_dense_sharing_grad", TORCH_BOX(&rotfast::expand_dense_sharing_grad));
}
