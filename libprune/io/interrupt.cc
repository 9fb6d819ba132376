#include <signal.h>

#include <atomic>

#include "libprune/io/staging.h"

namespace prune {
namespace {

std::atomic<bool> was_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch lock-free atomics only");

void note_interrupt(int) { was_interrupted.store(true, std::memory_order_relaxed); }

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = note_interrupt;
  sigemptyset(&action.sa_mask);
  // The first signal asks for an orderly end; a second one, from somebody who won't wait, ends the process at
  // once.
  action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);  // a terminal that closed
  // A reader that went away and a file-size limit are then errors of the write, which clean up behind
  // themselves.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

bool interrupted() noexcept { return was_interrupted.load(std::memory_order_relaxed); }

void check_interrupted() {
  if (interrupted()) throw Interrupted{};
}

}  // namespace prune
