// Fetching the large tensor of a convolution, its result or the cotangent, while another part is at work:
// it lies in memory, and waiting for it would cost as much as the arithmetic.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace rotfast {

// Tiles of channels between the one at work and the one that is fetched.
constexpr int64_t kTilesAhead = 2;

// Into the L2 cache, as L1 is full of patches. Any address will do.
ROTFAST_INLINE void fetch_ahead(const void* place) { __builtin_prefetch(place, 0, 2); }

}  // namespace rotfast
