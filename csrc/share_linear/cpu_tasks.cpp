// y_t = x_t reshape(U v_t)^T and its gradients for many small tasks that share U. No weight, and no weight's
// gradient, of more than a few outputs exists at a time.
#include "common/tensor.h"
#include "share_linear/task_lanes.h"

namespace rotfast {
namespace {

constexpr int64_t kValueColumns = 6;   // columns of the result whose weights are made at once
constexpr int64_t kGroups = 4;         // vectors of tasks whose weights are made at once
constexpr int64_t kGradOutputs = 4;    // outputs whose weights' gradients are made at once
constexpr int64_t kGradBytes = 16384;  // of these gradients

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t grain(int64_t work) { return 1 + 100000 / (work + 1); }

struct TaskShape {
  int64_t tasks, N, I, O, L;
};

// A value's own view of its sizes: out[n, c] = sum_d x[n, d] W[c, d], W[c, d] made of row c c_step + d
// d_step.
struct ValueShape {
  int64_t tasks, N, D, C, L, c_step, d_step;

  int64_t units() const { return divide_up(C, kValueColumns); }
};

template <class T>
struct Lanes {
  Lanes(int64_t tasks, int64_t K)
      : tasks(tasks), K(K), groups(divide_up(tasks, kLanes<T>)), data(scratch<T>(groups * group_size())) {}

  int64_t group_size() const { return K * kLanes<T>; }
  T* group(int64_t index) const { return data.get() + index * group_size(); }

  int64_t tasks, K, groups;
  Scratch<T> data;
};

template <bool back, class T, class A>
ROTFAST_CLONES void turn_groups(const Lanes<T>& lanes, A* a, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g) {
    const int64_t first = g * kLanes<T>, count = std::min(kLanes<T>, lanes.tasks - first);
    turn_lanes<back>(count, lanes.K, a + first * lanes.K, lanes.group(g));
  }
}

// Copies a[task, k] to lanes, or lanes to a when `back`.
template <bool back, class T, class A>
void turn(const Lanes<T>& lanes, A* a) {
  torch::stable::parallel_for(0, lanes.groups, grain(lanes.group_size()), [&](int64_t begin, int64_t end) {
    turn_groups<back>(lanes, a, begin, end);
  });
}

// v[task, l] as columns[l, task], tasks padded with zeros.
template <class T>
Scratch<T> latent_columns(int64_t tasks, int64_t L, const T* v) {
  const int64_t step = whole_lanes<T>(tasks);
  Scratch<T> columns = scratch<T>(L * step);
  for (int64_t l = 0; l < L; ++l) {
    for (int64_t t = 0; t < step; ++t) columns[l * step + t] = t < tasks ? v[t * L + l] : T(0);
  }
  return columns;
}

// v[task, l] with rows, and their number, padded with zeros.
template <class T>
Scratch<T> latent_rows(int64_t tasks, int64_t L, const T* v) {
  const int64_t step = whole_lanes<T>(L);
  Scratch<T> rows = scratch<T>(whole_lanes<T>(tasks) * step);
  for (int64_t t = 0; t < whole_lanes<T>(tasks); ++t) {
    for (int64_t l = 0; l < step; ++l) rows[t * step + l] = t < tasks && l < L ? v[t * L + l] : T(0);
  }
  return rows;
}

// v as the product that makes the gradient of U takes it.
template <class T>
Scratch<T> latent_factors(int64_t tasks, int64_t L, const T* v) {
  return L <= kFewColumns ? latent_columns(tasks, L, v) : latent_rows(tasks, L, v);
}

template <class T>
ROTFAST_CLONES void value_units(
    const ValueShape& s,
    const Lanes<T>& x,
    const T* U,
    const T* columns,
    const Lanes<T>& y,
    int64_t begin,
    int64_t end) {
  constexpr int64_t S = kLanes<T>;
  const int64_t group_size = kValueColumns * s.D * S;
  const Scratch<T> W = scratch<T>(kGroups * group_size);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit * kValueColumns, count = std::min(kValueColumns, s.C - first);
    for (int64_t g0 = 0; g0 < x.groups; g0 += kGroups) {
      const int64_t groups = std::min(kGroups, x.groups - g0);
      for (int64_t c = 0; c < count; ++c) {
        const LaneMatrix<const T> rows{U + (first + c) * s.c_step * s.L, s.d_step * s.L, 1};
        const LaneMatrix<T> weights{W.get() + c * s.D * S, S, group_size};
        scaled_product<false>(s.D, s.L, groups, rows, columns + g0 * S, x.groups * S, weights);
      }
      for (int64_t g = 0; g < groups; ++g) {
        const LaneMatrix<const T> in{x.group(g0 + g), s.D * S, S}, w{W.get() + g * group_size, s.D * S, S};
        lane_product(s.N, count, s.D, in, w, LaneMatrix<T>{y.group(g0 + g) + first * S, s.C * S, S});
      }
    }
  }
}

// gU[m, l] = sum_t gW[m, t] v[t, l], with v as latent_factors has it; `outer` holds the rows in whole
// vectors.
template <class T>
ROTFAST_INLINE void sharing_rows(
    int64_t rows, int64_t width, int64_t L, const T* gW, const T* latent, T* outer, T* gU) {
  constexpr int64_t S = kLanes<T>;
  switch (L) {
    case 1:
      return close_inner_products<1>(rows, width, gW, latent, gU);
    case 2:
      return close_inner_products<2>(rows, width, gW, latent, gU);
    case 3:
      return close_inner_products<3>(rows, width, gW, latent, gU);
    case 4:
      return close_inner_products<4>(rows, width, gW, latent, gU);
    default:
      break;
  }
  const int64_t step = whole_lanes<T>(L);
  const LaneMatrix<const T> factors{gW, width, 1};
  scaled_product<false>(rows, width, step / S, factors, latent, step, LaneMatrix<T>{outer, step, S});
  close_rows(rows, L, outer, step, gU);
}

// U or latent may be null: gv or gU is not wanted then. `partial` holds gv[unit, l, task].
template <class T>
ROTFAST_CLONES void grad_units(
    const TaskShape& s,
    const Lanes<T>& g,
    const Lanes<T>& x,
    const T* U,
    const T* latent,
    T* gU,
    T* partial,
    int64_t begin,
    int64_t end) {
  constexpr int64_t S = kLanes<T>;
  const int64_t width = x.groups * S;
  const int64_t fitting = kGradBytes / (kGradOutputs * width * static_cast<int64_t>(sizeof(T)));
  const int64_t features = std::min(s.I, std::max(fitting / 3, int64_t(1)) * 3);
  const Scratch<T> gW = scratch<T>(kGradOutputs * features * width);
  const Scratch<T> outer = scratch<T>(features * whole_lanes<T>(s.L));
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t o0 = unit * kGradOutputs, outputs = std::min(kGradOutputs, s.O - o0);
    T* unit_gv = partial + unit * s.L * width;
    if (U != nullptr) std::fill(unit_gv, unit_gv + s.L * width, T(0));
    for (int64_t i0 = 0; i0 < s.I; i0 += features) {
      const int64_t count = std::min(features, s.I - i0);
      for (int64_t t = 0; t < x.groups; ++t) {
        const LaneMatrix<const T> a{g.group(t) + o0 * S, S, s.O * S}, b{x.group(t) + i0 * S, S, s.I * S};
        lane_product(outputs, count, s.N, a, b, LaneMatrix<T>{gW.get() + t * S, count * width, width});
      }
      for (int64_t o = 0; o < outputs && U != nullptr; ++o) {
        const LaneMatrix<const T> factors{U + ((o0 + o) * s.I + i0) * s.L, 1, s.L};
        scaled_product<true>(
            s.L, count, x.groups, factors, gW.get() + o * count * width, width,
            LaneMatrix<T>{unit_gv, width, S});
      }
      for (int64_t o = 0; o < outputs && latent != nullptr; ++o) {
        sharing_rows(
            count, width, s.L, gW.get() + o * count * width, latent, outer.get(),
            gU + ((o0 + o) * s.I + i0) * s.L);
      }
    }
  }
}

void check_form(const char* name, const Tensor& x, const Tensor& U) {
  STD_TORCH_CHECK(x.dim() == 3 && U.dim() == 2, name, ": x must have tasks, and U none");
  STD_TORCH_CHECK(
      x.size(2) > 0 && U.size(0) % x.size(2) == 0, name,
      ": the last size of x does not divide the rows of U");
}

void check_latent(const char* name, const Tensor& v, int64_t tasks, int64_t L) {
  STD_TORCH_CHECK(
      v.dim() == 2 && v.size(0) == tasks && v.size(1) == L, name, ": v must be (", tasks, ", ", L, ")");
}

// y_t = x_t W_t^T with W_t = reshape(U v_t), or x_t W_t when `transposed`.
Tensor share_linear_tasks(const Tensor& x_, const Tensor& U_, const Tensor& v_, bool transposed) {
  const char* name = "share_linear_tasks";
  check_like("U", U_, x_);
  check_like("v", v_, x_);
  check_form(name, x_, U_);
  check_latent(name, v_, x_.size(0), U_.size(1));
  const Tensor x = torch::stable::contiguous(x_), U = torch::stable::contiguous(U_),
               v = torch::stable::contiguous(v_);
  const int64_t D = x.size(2), C = U.size(0) / D;
  const ValueShape s{x.size(0), x.size(1), D, C, U.size(1), transposed ? 1 : D, transposed ? C : 1};
  Tensor y = new_result(x, {s.tasks, s.N, s.C});
  ROTFAST_DISPATCH(x.scalar_type(), name, {
    const Lanes<scalar_t> in(s.tasks, s.N * s.D), out(s.tasks, s.N * s.C);
    const Scratch<scalar_t> columns = latent_columns(s.tasks, s.L, data<scalar_t>(v));
    const scalar_t* sharing = data<scalar_t>(U);
    turn<false>(in, data<scalar_t>(x));
    torch::stable::parallel_for(
        0, s.units(), grain(s.tasks * kValueColumns * s.D * (s.L + s.N)), [&](int64_t begin, int64_t end) {
          value_units<scalar_t>(s, in, sharing, columns.get(), out, begin, end);
        });
    turn<true>(out, mutable_data<scalar_t>(y));
  });
  return y;
}

// Of <g_t, x_t W_t^T>: the gradient of U if v is given, summed over tasks, and that of v_t if U is given; one
// that is not wanted has no elements.
std::tuple<Tensor, Tensor> share_linear_tasks_backward(
    const Tensor& g_, const Tensor& x_, const std::optional<Tensor>& U_, const std::optional<Tensor>& v_) {
  const char* name = "share_linear_tasks_backward";
  check_like("x", x_, g_);
  STD_TORCH_CHECK(
      g_.dim() == 3 && x_.dim() == 3 && g_.size(0) == x_.size(0) && g_.size(1) == x_.size(1), name,
      ": g and x must have the same tasks and rows");
  STD_TORCH_CHECK(U_.has_value() || v_.has_value(), name, ": neither U nor v is given");
  const Tensor g = torch::stable::contiguous(g_), x = torch::stable::contiguous(x_);
  TaskShape s{x.size(0), x.size(1), x.size(2), g.size(2), 0};
  const int64_t M = s.O * s.I;
  std::optional<Tensor> U, v;
  if (v_.has_value()) {
    check_like("v", *v_, g_);
    v = torch::stable::contiguous(*v_);
    s.L = v->size(-1);
    check_latent(name, *v, s.tasks, s.L);
  }
  if (U_.has_value()) {
    check_like("U", *U_, g_);
    U = torch::stable::contiguous(*U_);
    STD_TORCH_CHECK(
        U->dim() == 2 && U->size(0) == M && (!v.has_value() || U->size(1) == s.L), name,
        ": U does not fit the other arguments");
    s.L = U->size(1);
  }
  const auto sizes_U = v.has_value() ? std::vector<int64_t>{M, s.L} : std::vector<int64_t>{0};
  const auto sizes_v = U.has_value() ? std::vector<int64_t>{s.tasks, s.L} : std::vector<int64_t>{0};
  if (s.tasks == 0) return {torch::stable::new_zeros(g, sizes_U), torch::stable::new_zeros(g, sizes_v)};
  Tensor gU = new_result(g, sizes_U), gv = new_result(g, sizes_v);
  ROTFAST_DISPATCH(g.scalar_type(), name, {
    const Lanes<scalar_t> grad(s.tasks, s.N * s.O), in(s.tasks, s.N * s.I);
    turn<false>(grad, data<scalar_t>(g));
    turn<false>(in, data<scalar_t>(x));
    const Scratch<scalar_t> latent =
        v.has_value() ? latent_factors(s.tasks, s.L, data<scalar_t>(*v)) : nullptr;
    const int64_t units = divide_up(s.O, kGradOutputs), size = s.L * in.groups * kLanes<scalar_t>;
    const Scratch<scalar_t> partial = scratch<scalar_t>(U.has_value() ? units * size : 0);
    const scalar_t* sharing = U.has_value() ? data<scalar_t>(*U) : nullptr;
    scalar_t* out = mutable_data<scalar_t>(gU);
    torch::stable::parallel_for(
        0, units, grain(s.tasks * kGradOutputs * s.I * (s.L + s.N)), [&](int64_t begin, int64_t end) {
          grad_units<scalar_t>(s, grad, in, sharing, latent.get(), out, partial.get(), begin, end);
        });
    if (U.has_value()) {
      scalar_t* latent = mutable_data<scalar_t>(gv);
      for (int64_t e = 0; e < s.tasks * s.L; ++e) {
        const scalar_t* at = partial.get() + e % s.L * (size / s.L) + e / s.L;
        scalar_t sum = 0;
        for (int64_t unit = 0; unit < units; ++unit) sum += at[unit * size];
        latent[e] = sum;
      }
    }
  });
  return {gU, gv};
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("share_linear_tasks(Tensor x, Tensor U, Tensor v, bool transposed) -> Tensor");
  m.def("share_linear_tasks_backward(Tensor g, Tensor x, Tensor? U, Tensor? v) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("share_linear_tasks", TORCH_BOX(&rotfast::share_linear_tasks));
  m.impl("share_linear_tasks_backward", TORCH_BOX(&rotfast::share_linear_tasks_backward));
}
