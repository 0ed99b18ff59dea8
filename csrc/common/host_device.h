// Marks arithmetic that the C++ compiler and nvcc both compile.
#pragma once

#if defined(__CUDACC__)
#define ROTFAST_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define ROTFAST_HOST_DEVICE inline __attribute__((always_inline))
#endif
