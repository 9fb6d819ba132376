// prune devices: what this machine has, and what of it this build can use.
#include <fmt/format.h>
#include <omp.h>

#include <nlohmann/json.hpp>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/gpu_driver.h"
#include "apps/prune/terminal.h"
#include "kernels/sparse/isa.h"

namespace prune::app {
namespace {

CommandLine make_devices_line() {
  CommandLine line("prune devices [options]",
                   "Shows the processors and GPUs found here, and which kernels run on them.",
                   "GPUs are those that the NVIDIA driver shows; CUDA_VISIBLE_DEVICES chooses among them.\n"
                   "\nExamples:\n  prune devices\n  prune devices --json\n");
  add_running_options(line);
  return line;
}

nlohmann::json to_json(const GpuDriver& driver, int threads) {
  nlohmann::json gpus = nlohmann::json::array();
  for (const Gpu& gpu : driver.gpus) {
    gpus.push_back({{"name", gpu.name},
                    {"compute_capability", fmt::format("{}.{}", gpu.major, gpu.minor)},
                    {"multiprocessors", gpu.multiprocessors},
                    {"memory_bytes", gpu.memory},
                    {"kernels", kernels_for(gpu, driver.version)}});
  }
  return {{"threads", threads},
          {"isa", kernels::isa::level_name(kernels::isa::supported())},
          {"cuda_kernels", has_cuda_kernels()},
          {"cuda_driver", driver.version ? nlohmann::json(cuda_version(driver.version)) : nlohmann::json()},
          {"gpu_fault", driver.fault.empty() ? nlohmann::json() : nlohmann::json(driver.fault)},
          {"gpus", gpus}};
}

std::string in_words(const GpuDriver& driver, int threads) {
  Table table({"device", "memory", "multiprocessors", "compute capability", "kernels"});
  table.add({fmt::format("this processor, {} thread{}", threads, threads == 1 ? "" : "s"), "", "", "",
             kernels::isa::level_name(kernels::isa::supported())});
  for (const Gpu& gpu : driver.gpus) {
    table.add({printable(gpu.name), human_bytes(gpu.memory), std::to_string(gpu.multiprocessors),
               fmt::format("{}.{}", gpu.major, gpu.minor), kernels_for(gpu, driver.version)});
  }
  std::string text = table.text();
  if (!driver.fault.empty()) text += fmt::format("\nNo GPU: {}.\n", driver.fault);
  if (driver.version) text += fmt::format("NVIDIA driver: up to CUDA {}.\n", cuda_version(driver.version));
  text += has_cuda_kernels()
              ? "This build has the CUDA kernels.\n"
              : "This build has no CUDA kernels: configure with -DPRUNE_CUDA=ON where nvcc is.\n";
  return text;
}

}  // namespace

int devices_command(const Arguments& arguments) {
  CommandLine line = make_devices_line();
  if (!line.parse(arguments)) return kDone;
  if (line.threads() > 0) omp_set_num_threads(line.threads());
  const GpuDriver driver = ask_gpu_driver();
  fmt::print("{}", line.flag("json") ? json_text(to_json(driver, omp_get_max_threads()))
                                     : in_words(driver, omp_get_max_threads()));
  return kDone;
}

}  // namespace prune::app
