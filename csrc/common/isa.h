// Instruction sets: one function, compiled for several, chosen when the library is loaded.
#pragma once

// target_clones needs GCC's ifunc support; elsewhere the portable code is the only one.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define ROTFAST_HAS_CLONES 1
#define ROTFAST_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
// For a function in two versions: the one for all machines, and the one with 64-byte vectors, to be called
// where has_wide_vectors() only.
#define ROTFAST_NARROW __attribute__((target_clones("default", "arch=x86-64-v3")))
#define ROTFAST_WIDE __attribute__((target("arch=x86-64-v4")))
#else
#define ROTFAST_HAS_CLONES 0
#define ROTFAST_CLONES
#define ROTFAST_NARROW
#define ROTFAST_WIDE
#endif

// A helper called from a cloned function must be inlined to be compiled for the clone's instruction set.
#define ROTFAST_INLINE inline __attribute__((always_inline))

namespace rotfast {

inline bool has_wide_vectors() {
#if ROTFAST_HAS_CLONES
  static const bool has = __builtin_cpu_supports("x86-64-v4");
  return has;
#else
  return false;
#endif
}

}  // namespace rotfast
