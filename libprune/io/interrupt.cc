#include <signal.h>

#include <atomic>
#include <system_error>
#include <thread>

#include "libprune/io/staging.h"

namespace prune {
namespace {

std::atomic<bool> was_interrupted{false};

// Waits for the signals that the process has blocked. The first one asks for an orderly end; a second one,
// from somebody who won't wait, ends the process at once.
void wait_for_signals(sigset_t asked) {
  int number = 0;
  if (sigwait(&asked, &number) != 0) return;
  was_interrupted.store(true, std::memory_order_relaxed);
  if (sigwait(&asked, &number) != 0) return;
  pthread_sigmask(SIG_UNBLOCK, &asked, nullptr);
  ::raise(number);
}

// SIGINT, SIGTERM and SIGHUP (a terminal that closed), but for those that whoever started the process lets it
// ignore, as nohup does.
sigset_t signals_to_heed() {
  sigset_t heeded;
  sigemptyset(&heeded);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaddset(&heeded, number);
  }
  return heeded;
}

}  // namespace

// A thread of its own waits for the signals, and all others block them: a handler must not run in a thread
// that multiplies. oneDNN's float32 kernels (2.6, AVX-512) keep the stack pointer on the heap while they run,
// and the kernel would write the signal's frame there, over whatever lies below.
void watch_for_interrupts() {
  const sigset_t heeded = signals_to_heed();
  pthread_sigmask(SIG_BLOCK, &heeded, nullptr);  // which threads to come inherit
  try {
    std::thread(wait_for_signals, heeded).detach();
  } catch (const std::system_error&) {  // no thread to be had: signals end the process, as they do by default
    pthread_sigmask(SIG_UNBLOCK, &heeded, nullptr);
  }
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
