// Holds a thread's signals back for a while.
#pragma once

#include <csignal>

namespace tnl {

// While it lives, signals from outside (interrupts, timers, other programs) wait for this thread or
// go to another one; what the thread's own instructions raise does not.
class SignalsHeld {
 public:
  SignalsHeld();
  ~SignalsHeld();
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

}  // namespace tnl
