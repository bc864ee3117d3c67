// A program's signals arrive at any moment, also in the middle of a matrix product.
#include <gtest/gtest.h>

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "support/require.h"
#include "tnl/device.h"

namespace tnl::test {
namespace {

volatile std::sig_atomic_t g_signals = 0;

// Sends this thread one signal after the other, to a handler that does next to nothing.
class Storm {
 public:
  Storm() {
    struct sigaction action {};
    action.sa_handler = [](int) { g_signals = g_signals + 1; };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR1, &action, &before_);
    sender_ = std::thread([this, target = pthread_self()] {
      while (!over_.load()) {
        ::pthread_kill(target, SIGUSR1);
        std::this_thread::sleep_for(std::chrono::microseconds(5));
      }
    });
  }
  ~Storm() {
    over_.store(true);
    sender_.join();
    ::sigaction(SIGUSR1, &before_, nullptr);
  }

 private:
  std::atomic<bool> over_ = false;
  std::thread sender_;
  struct sigaction before_ {};
};

// One product of a form, of operands whose sums are whole numbers.
struct Product {
  MatmulForm form;
  std::int64_t rows, cols, depth;
  std::vector<float> a, b, c;

  Product(MatmulForm the_form, std::int64_t m, std::int64_t n, std::int64_t k)
      : form(the_form), rows(m), cols(n), depth(k), a(m * k), b(n * k), c(m * n) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 13) - 6;
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 7) - 3;
  }
  void run(Backend& backend) {
    const auto matrix = [](std::vector<float>& x, std::int64_t m, std::int64_t n) {
      return Matrix::contiguous(x.data(), DType::kF32, m, n);
    };
    const bool tn = form == MatmulForm::kTN, nt = form == MatmulForm::kNT;
    backend.matmul(form, 1.0, tn ? matrix(a, depth, rows) : matrix(a, rows, depth),
                   nt ? matrix(b, cols, depth) : matrix(b, depth, cols), 0.0,
                   matrix(c, rows, cols));
  }
};

TEST(Signals, DoNotDisturbMatrixProducts) {
  const Device device = take(Device::open("cpu", {.threads = 1, .cpu_target = ""}));
  std::vector<Product> products;
  for (const MatmulForm form : {MatmulForm::kNT, MatmulForm::kNN, MatmulForm::kTN}) {
    products.emplace_back(form, 96, 258, 16);
    products.emplace_back(form, 258, 16, 96);
    products.emplace_back(form, 64, 64, 96);
  }
  std::vector<std::vector<float>> expected;
  for (Product& product : products) {
    product.run(device.backend());
    expected.push_back(product.c);
  }
  const Storm storm;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) {
    for (std::size_t i = 0; i < products.size(); ++i) {
      products[i].run(device.backend());
      ASSERT_EQ(products[i].c, expected[i]) << "product " << i << " after " << g_signals;
    }
  }
  EXPECT_GT(g_signals, 100);
}

}  // namespace
}  // namespace tnl::test
