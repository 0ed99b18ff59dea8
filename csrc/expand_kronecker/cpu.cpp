#include "expand_kronecker/expand_kronecker.h"

#include <tuple>

#include "common/tensor.h"

namespace rotfast {
namespace {

KroneckerShape kronecker_shape(const Tensor& w, const Tensor& A, const Tensor& B, const Tensor& C) {
  const KroneckerShape s{w.size(-3), w.size(-2), w.size(-1), A.size(-2), B.size(-2), C.size(-2)};
  STD_TORCH_CHECK(
      A.size(-1) == s.P && B.size(-1) == s.Q && C.size(-1) == s.L,
      "expand_kronecker: warps do not fit the weight");
  check_like("A", A, w);
  check_like("B", B, w);
  check_like("C", C, w);
  return s;
}

// Base pointer and distance between tasks (0 for an argument that all tasks share).
template <class T>
struct PerTask {
  T* base;
  int64_t step;
  T* operator[](int64_t task) const { return base + task * step; }
};

template <class T>
PerTask<const T> per_task(const Tensor& tensor, int64_t dim, int64_t size) {
  return {data<T>(tensor), tensor.dim() > dim ? size : 0};
}

template <class T>
PerTask<T> per_task_out(const Tensor& tensor, int64_t dim, int64_t size) {
  return {mutable_data<T>(tensor), tensor.dim() > dim ? size : 0};
}

template <class T>
struct KroneckerArguments {
  PerTask<const T> w, A, B, C;

  KroneckerArguments(
      const KroneckerShape& s, const Tensor& w_, const Tensor& A_, const Tensor& B_, const Tensor& C_)
      : w(per_task<T>(w_, 3, s.P * s.Q * s.L)),
        A(per_task<T>(A_, 2, s.O * s.P)),
        B(per_task<T>(B_, 2, s.I * s.Q)),
        C(per_task<T>(C_, 2, s.K * s.L)) {}
};

template <class T>
ROTFAST_CLONES void expand_tasks(
    const KroneckerShape& s, const KroneckerArguments<T>& args, T* out, int64_t begin, int64_t end) {
  std::vector<T> inner(s.inner()), middle(s.middle());
  for (int64_t t = begin; t < end; ++t) {
    kronecker_inner(s, args.w[t], args.C[t], inner.data());
    kronecker_middle(s, inner.data(), args.B[t], middle.data());
    matrix_rows<false>(
        s.O, s.P, s.I * s.K, args.A[t], s.P, int64_t(1), middle.data(), out + t * s.O * s.I * s.K);
  }
}

// Adds each task's gradients; arguments that all tasks share receive the sum over tasks, in task order.
template <class T>
ROTFAST_CLONES void backward_tasks(
    const KroneckerShape& s,
    const KroneckerArguments<T>& args,
    PerTask<const T> g,
    PerTask<T> gw,
    PerTask<T> gA,
    PerTask<T> gB,
    PerTask<T> gC,
    int64_t tasks) {
  const int64_t IK = s.I * s.K;
  std::vector<T> inner(s.inner()), middle(s.middle()), g_inner(s.inner()), g_middle(s.middle());
  for (int64_t t = 0; t < tasks; ++t) {
    kronecker_inner(s, args.w[t], args.C[t], inner.data());
    kronecker_middle(s, inner.data(), args.B[t], middle.data());
    add_row_products(s.O, s.P, IK, g[t], middle.data(), gA[t]);
    matrix_rows<false>(s.P, s.O, IK, args.A[t], int64_t(1), s.P, g[t], g_middle.data());
    for (int64_t p = 0; p < s.P; ++p) {
      const T* gm = g_middle.data() + p * IK;
      add_row_products(s.I, s.Q, s.K, gm, inner.data() + p * s.Q * s.K, gB[t]);
      matrix_rows<false>(s.Q, s.I, s.K, args.B[t], int64_t(1), s.Q, gm, g_inner.data() + p * s.Q * s.K);
    }
    for (int64_t pq = 0; pq < s.P * s.Q; ++pq) {
      const T* gi = g_inner.data() + pq * s.K;
      const T* w_row = args.w[t] + pq * s.L;
      T* gw_row = gw[t] + pq * s.L;
      for (int64_t k = 0; k < s.K; ++k) {
        for (int64_t l = 0; l < s.L; ++l) {
          gC[t][k * s.L + l] += gi[k] * w_row[l];
          gw_row[l] += args.C[t][k * s.L + l] * gi[k];
        }
      }
    }
  }
}

Tensor expand_kronecker(const Tensor& w_, const Tensor& A_, const Tensor& B_, const Tensor& C_) {
  const KroneckerShape s = kronecker_shape(w_, A_, B_, C_);
  const int64_t tasks =
      common_tasks({task_count(w_, 3), task_count(A_, 2), task_count(B_, 2), task_count(C_, 2)});
  const bool batched = w_.dim() > 3 || A_.dim() > 2 || B_.dim() > 2 || C_.dim() > 2;
  const Tensor w = torch::stable::contiguous(w_), A = torch::stable::contiguous(A_),
               B = torch::stable::contiguous(B_), C = torch::stable::contiguous(C_);
  std::vector<int64_t> sizes{s.O, s.I, s.K};
  if (batched) sizes.insert(sizes.begin(), tasks);
  Tensor out = new_result(w, sizes);
  const int64_t work = s.inner() * s.L + s.middle() * s.Q + s.O * s.P * s.I * s.K + 1;
  ROTFAST_DISPATCH(w.scalar_type(), "expand_kronecker", {
    const KroneckerArguments<scalar_t> args(s, w, A, B, C);
    scalar_t* result = mutable_data<scalar_t>(out);
    torch::stable::parallel_for(0, batched ? tasks : 1, 1 + 100000 / work, [&](int64_t begin, int64_t end) {
      expand_tasks<scalar_t>(s, args, result, begin, end);
    });
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> expand_kronecker_backward(
    const Tensor& g_, const Tensor& w_, const Tensor& A_, const Tensor& B_, const Tensor& C_) {
  const KroneckerShape s = kronecker_shape(w_, A_, B_, C_);
  check_like("g", g_, w_);
  STD_TORCH_CHECK(
      g_.size(-3) == s.O && g_.size(-2) == s.I && g_.size(-1) == s.K,
      "expand_kronecker_backward: g does not have the shape of the result");
  const bool batched = g_.dim() > 3;
  const int64_t tasks = batched ? g_.size(0) : 1;
  const Tensor g = torch::stable::contiguous(g_), w = torch::stable::contiguous(w_),
               A = torch::stable::contiguous(A_), B = torch::stable::contiguous(B_),
               C = torch::stable::contiguous(C_);
  Tensor gw = torch::stable::new_zeros(w, w.sizes()), gA = torch::stable::new_zeros(A, A.sizes()),
         gB = torch::stable::new_zeros(B, B.sizes()), gC = torch::stable::new_zeros(C, C.sizes());
  ROTFAST_DISPATCH(w.scalar_type(), "expand_kronecker_backward", {
    const KroneckerArguments<scalar_t> args(s, w, A, B, C);
    backward_tasks<scalar_t>(
        s, args, per_task<scalar_t>(g, 3, s.O * s.I * s.K), per_task_out<scalar_t>(gw, 3, s.P * s.Q * s.L),
        per_task_out<scalar_t>(gA, 2, s.O * s.P), per_task_out<scalar_t>(gB, 2, s.I * s.Q),
        per_task_out<scalar_t>(gC, 2, s.K * s.L), tasks);
  });
  return {gw, gA, gB, gC};
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("expand_kronecker(Tensor weight, Tensor A, Tensor B, Tensor C) -> Tensor");
  m.def(
      "expand_kronecker_backward(Tensor g, Tensor weight, Tensor A, Tensor B, Tensor C)"
      " -> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("expand_kronecker", TORCH_BOX(&rotfast::expand_kronecker));
  m.impl("expand_kronecker_backward", TORCH_BOX(&rotfast::expand_kronecker_backward));
}
