// The Python module rotfast._C. Importing it runs the registrations of every operator linked into it; what it
// holds itself is information about how it was built.

#include <pybind11/pybind11.h>
#include <torch/headeronly/version.h>

#include <string>

#include "common/isa.h"

#ifdef USE_CUDA
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

// Which of the clones that common/isa.h asks for the loader takes on this processor.
std::string instruction_set() {
#if ROTFAST_HAS_CLONES
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
#endif
  return "portable";
}

py::dict build_info() {
  py::dict info;
  info["torch"] = TORCH_VERSION;
  info["compiler"] = compiler();
  info["instruction_set"] = instruction_set();
#ifdef USE_CUDA
  info["cuda"] = std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  info["cuda_architectures"] = py::str(ROTFAST_CUDA_ARCHITECTURES).attr("split")();
  info["no_cuda_reason"] = py::none();
#else
  info["cuda"] = py::none();
  info["cuda_architectures"] = py::list();
  info["no_cuda_reason"] = ROTFAST_NO_CUDA_REASON;
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled rotfast operators: importing this module puts them into torch.ops.rotfast.";
  m.def("build_info", &build_info, "How this extension was built, and the instruction set it runs with.");
}
