#include "core/signals.h"

#include <initializer_list>

namespace tnl {

SignalsHeld::SignalsHeld() {
  sigset_t held;
  sigfillset(&held);
  for (const int raised : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
    sigdelset(&held, raised);
  }
  ::pthread_sigmask(SIG_SETMASK, &held, &before_);
}

SignalsHeld::~SignalsHeld() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace tnl
