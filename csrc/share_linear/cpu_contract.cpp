// The trilinear form F(q, x, U) = sum_n,o,l,i q[n, o L + l] x[n, i] U[o I + i, l] and its three derivatives:
// x times U before the latent parameters come in. U is read in its own layout; of a block of features all
// outputs are transposed into the cache, where the arithmetic runs along the features.
#include <algorithm>

#include "common/panel_gemm.h"
#include "common/tensor.h"
#include "expand_dense/expand_dense.h"

namespace rotfast {
namespace {

constexpr int64_t kContractRows = 64;  // rows of x in one unit of work of z = x U

struct ContractShape {
  int64_t N, I, O, L;

  int64_t columns() const { return O * L; }
  int64_t feature_blocks() const { return (I + kDenseBlock - 1) / kDenseBlock; }
  int64_t row_blocks() const { return (N + kContractRows - 1) / kContractRows; }
  int64_t grain(int64_t rows, int64_t features) const {
    return 1 + 100000 / (rows * features * columns() + 1);
  }
  // Products read whole tiles, past the last row of a block.
  template <class T>
  std::vector<T> block() const {
    return std::vector<T>(columns() * kDenseBlock + kTileColumns<T>);
  }
};

struct Features {
  Features(const ContractShape& s, int64_t index)
      : first(index * kDenseBlock), count(std::min(kDenseBlock, s.I - first)) {}
  int64_t first, count;
};

// turned[o L + l, i] = U[o I + i, l] for a block of features i.
template <class T>
ROTFAST_INLINE void turn(const ContractShape& s, const Features& block, const T* U, T* turned) {
  for (int64_t o = 0; o < s.O; ++o) {
    transpose_rows(U + (o * s.I + block.first) * s.L, block.count, s.L, turned + o * s.L * kDenseBlock);
  }
}

template <class T>
ROTFAST_CLONES void contract_rows(
    const ContractShape& s, const T* x, const T* U, T* z, int64_t begin, int64_t end) {
  using V = Vector<T>;
  const int64_t columns = s.columns();
  std::vector<T> turned = s.block<T>(), sums;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit * kContractRows, rows = std::min(kContractRows, s.N - n);
    T* out = z + n * columns;
    sums.assign(rows * columns * V::size, T(0));
    std::fill(out, out + rows * columns, T(0));
    for (int64_t index = 0; index < s.feature_blocks(); ++index) {
      const Features block(s, index);
      turn(s, block, U, turned.data());
      panel_inner_products(
          rows, columns, block.count, x + n * s.I + block.first, s.I, turned.data(), kDenseBlock, sums.data(),
          out);
    }
    for (int64_t e = 0; e < rows * columns; ++e) out[e] += V::sum(V::load(sums.data() + e * V::size));
  }
}

template <class T>
ROTFAST_CLONES void input_grad_blocks(
    const ContractShape& s, const T* packed, const T* U, T* gx, int64_t begin, int64_t end) {
  std::vector<T> turned = s.block<T>();
  const T* no_bias = nullptr;
  for (int64_t index = begin; index < end; ++index) {
    const Features block(s, index);
    turn(s, block, U, turned.data());
    panel_product(
        s.N, s.columns(), block.count, packed, turned.data(), kDenseBlock, no_bias, gx + block.first, s.I);
  }
}

template <class T>
ROTFAST_CLONES void sharing_grad_blocks(
    const ContractShape& s, const T* packed, const T* x, T* gU, int64_t begin, int64_t end) {
  std::vector<T> turned = s.block<T>(), rest;
  for (int64_t index = begin; index < end; ++index) {
    const Features block(s, index);
    bounded_panel_product(
        s.columns(), s.N, block.count, packed, x + block.first, s.I, turned.data(), kDenseBlock, rest);
    for (int64_t o = 0; o < s.O; ++o) {
      T* rows = gU + (o * s.I + block.first) * s.L;
      transpose_block<true>(rows, block.count, s.L, turned.data() + o * s.L * kDenseBlock);
    }
  }
}

void check_matrices(const char* name, const Tensor& a, const Tensor& b) {
  check_like("second argument", b, a);
  STD_TORCH_CHECK(a.dim() == 2 && b.dim() == 2, name, ": arguments must be matrices");
}

Tensor contract(const Tensor& x_, const Tensor& U_) {
  check_matrices("contract", x_, U_);
  STD_TORCH_CHECK(
      x_.size(1) > 0 && U_.size(0) % x_.size(1) == 0, "contract: the features do not divide the rows of U");
  const Tensor x = torch::stable::contiguous(x_), U = torch::stable::contiguous(U_);
  const ContractShape s{x.size(0), x.size(1), U.size(0) / x.size(1), U.size(1)};
  Tensor z = new_result(x, {s.N, s.columns()});
  ROTFAST_DISPATCH(x.scalar_type(), "contract", {
    const scalar_t *input = data<scalar_t>(x), *sharing = data<scalar_t>(U);
    scalar_t* out = mutable_data<scalar_t>(z);
    torch::stable::parallel_for(
        0, s.row_blocks(), s.grain(kContractRows, s.I),
        [&](int64_t begin, int64_t end) { contract_rows<scalar_t>(s, input, sharing, out, begin, end); });
  });
  return z;
}

// gx[n, i] = sum_o,l q[n, o L + l] U[o I + i, l].
Tensor contract_input_grad(const Tensor& q_, const Tensor& U_) {
  check_matrices("contract_input_grad", q_, U_);
  const Tensor q = torch::stable::contiguous(q_), U = torch::stable::contiguous(U_);
  const int64_t L = U.size(1), O = L > 0 ? q.size(1) / L : 0;
  STD_TORCH_CHECK(
      O > 0 && q.size(1) == O * L && U.size(0) % O == 0, "contract_input_grad: q and U do not fit");
  const ContractShape s{q.size(0), U.size(0) / O, O, L};
  Tensor gx = new_result(q, {s.N, s.I});
  ROTFAST_DISPATCH(q.scalar_type(), "contract_input_grad", {
    std::vector<scalar_t> packed(packed_size(s.N, s.columns()));
    pack_rows(s.N, s.columns(), data<scalar_t>(q), s.columns(), int64_t(1), packed.data());
    const scalar_t* sharing = data<scalar_t>(U);
    scalar_t* out = mutable_data<scalar_t>(gx);
    torch::stable::parallel_for(
        0, s.feature_blocks(), s.grain(s.N, kDenseBlock), [&](int64_t begin, int64_t end) {
          input_grad_blocks<scalar_t>(s, packed.data(), sharing, out, begin, end);
        });
  });
  return gx;
}

// gU[o I + i, l] = sum_n q[n, o L + l] x[n, i].
Tensor contract_sharing_grad(const Tensor& q_, const Tensor& x_, int64_t L) {
  check_matrices("contract_sharing_grad", q_, x_);
  STD_TORCH_CHECK(
      L > 0 && q_.size(0) == x_.size(0) && q_.size(1) % L == 0, "contract_sharing_grad: q and x do not fit");
  const Tensor q = torch::stable::contiguous(q_), x = torch::stable::contiguous(x_);
  const ContractShape s{x.size(0), x.size(1), q.size(1) / L, L};
  Tensor gU = new_result(x, {s.O * s.I, L});
  ROTFAST_DISPATCH(x.scalar_type(), "contract_sharing_grad", {
    std::vector<scalar_t> packed(packed_size(s.columns(), s.N));
    pack_rows(s.columns(), s.N, data<scalar_t>(q), int64_t(1), s.columns(), packed.data());
    const scalar_t* input = data<scalar_t>(x);
    scalar_t* out = mutable_data<scalar_t>(gU);
    torch::stable::parallel_for(
        0, s.feature_blocks(), s.grain(s.N, kDenseBlock), [&](int64_t begin, int64_t end) {
          sharing_grad_blocks<scalar_t>(s, packed.data(), input, out, begin, end);
        });
  });
  return gU;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("contract(Tensor x, Tensor U) -> Tensor");
  m.def("contract_input_grad(Tensor q, Tensor U) -> Tensor");
  m.def("contract_sharing_grad(Tensor q, Tensor x, int L) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("contract", TORCH_BOX(&rotfast::contract));
  m.impl("contract_input_grad", TORCH_BOX(&rotfast::contract_input_grad));
  m.impl("contract_sharing_grad", TORCH_BOX(&rotfast::contract_sharing_grad));
}
