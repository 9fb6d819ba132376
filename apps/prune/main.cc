// prune: the command line program.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <new>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "kernels/sparse/isa.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/staging.h"
#include "libprune/io/text.h"

namespace prune::app {
namespace {

// Mapped files are read without a call that could fail: where the disk gives no page, or somebody has cut the
// file meanwhile, the kernel sends SIGBUS. There is no way back from it, but there are words.
void end_on_lost_input(int) {
  for (const std::string_view part : {std::string_view("prune: "), kLostInput, std::string_view("\n")}) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, part.data(), part.size());
  }
  ::_exit(kFailed);
}

void install_bus_error_handler() {
  struct sigaction action {};
  action.sa_handler = end_on_lost_input;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return kUsage;
    case ErrorKind::kInput:
      return kRefused;
    case ErrorKind::kRuntime:
      return kFailed;
  }
  return kFailed;
}

int complain(std::string_view message, int code) {
  say(fmt::format("{} {}\n", red("prune:", STDERR_FILENO), printable(message)));
  return code;
}

void check_environment() {
  const std::string_view isa = kernels::isa::rejected_override();
  if (!isa.empty())
    throw_usage(fmt::format("PRUNE_ISA={}: expected generic, avx2, avx512, avx512bf16 or neon", isa));
}

// Refuses a first argument that is no path here and looks like a mistyped command.
void refuse_mistyped_command(const std::string& word) {
  std::error_code ignored;
  if (word.starts_with('-') || word.find('/') != std::string::npos ||
      exists(std::filesystem::symlink_status(word, ignored))) {
    return;
  }
  if (const auto meant = nearest_command(word)) {
    throw_usage(quote_name(word) + " is neither a model nor a command: did you mean 'prune " + *meant + "'?");
  }
}

int dispatch(const Arguments& arguments) {
  if (!arguments.empty()) {
    const Command* command = find_command(arguments.front());
    if (command != nullptr) return command->run({arguments.begin() + 1, arguments.end()});
    refuse_mistyped_command(arguments.front());
  }
  return prune_command(arguments);
}

// A closed stdin, stdout or stderr leaves its number to the next file that is opened, and messages would go
// into it. Nothing can be written to what takes the place here.
void occupy_standard_descriptors() {
  int fd;
  do {
    fd = ::open("/dev/null", O_RDONLY);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) ::close(fd);
}

int run(const Arguments& arguments) {
  try {
    occupy_standard_descriptors();
    watch_for_interrupts();
    install_bus_error_handler();
    check_environment();
    return dispatch(arguments);
  } catch (const Interrupted&) {
    return complain("interrupted", kInterrupted);
  } catch (const Error& fault) {
    return complain(fault.what(), exit_code(fault.kind()));
  } catch (const std::bad_alloc&) {
    return complain("out of memory", kFailed);
  } catch (const std::exception& fault) {
    return complain(fault.what(), kFailed);
  }
}

}  // namespace

}  // namespace prune::app

int main(int argc, char** argv) {
  const int code = prune::app::run({argv + 1, argv + argc});
  // A result that could not be written to stdout (a full disk, a closed descriptor) is a failure too.
  if (std::fflush(stdout) != 0 && code == prune::app::kDone) {
    return prune::app::complain("the result cannot be written: " + prune::system_reason(errno),
                                prune::app::kFailed);
  }
  return code;
}
