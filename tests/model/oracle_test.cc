// What the published code computed, recomputed on every device and CPU target.
#include <gtest/gtest.h>

#include "model/verify.h"
#include "support/require.h"
#include "tnl/model.h"

namespace tnl {
namespace {

using test::take;

struct OracleCase {
  std::string model;
  std::string device;
  std::string cpu_target;
  DType gpu_compute = DType::kBF16;
};

std::vector<OracleCase> oracle_cases() {
  std::vector<OracleCase> cases;
  for (const char* model : {"tnl-a", "tnl-p", "tnl3-a"}) {
    cases.push_back({model, "reference", ""});
    for (const std::string& target : available_cpu_targets())
      cases.push_back({model, "cpu", target});
  }
  return cases;
}

Device open(const OracleCase& oracle) {
  return take(Device::open(
      oracle.device,
      {.threads = 2, .cpu_target = oracle.cpu_target, .gpu_compute = oracle.gpu_compute}));
}

class Oracle : public testing::TestWithParam<OracleCase> {};

TEST_P(Oracle, Holds) {
  const std::string directory = std::string(TNL_TEST_DATA) + "/" + GetParam().model;
  const Device device = open(GetParam());
  const Model model = take(Model::load(directory, device));
  const auto results = take(verify_against_oracle(model, directory + "/oracle.safetensors"));
  EXPECT_GE(results.size(), 4u);
  for (const VerifiedTensor& result : results) {
    EXPECT_TRUE(result.ok()) << result.name << ": " << result.error << " > " << result.tolerance;
  }
}

std::string case_name(const testing::TestParamInfo<OracleCase>& info) {
  std::string name = info.param.model + "_" + info.param.device + "_" + info.param.cpu_target;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Oracle, testing::ValuesIn(oracle_cases()), case_name);

// f32 on the GPU to the same tolerance; bf16 to what its roundings, some tens a layer, come to.
TEST(GpuOracle, Holds) {
  const auto found = Device::open("cuda");
  if (!found.ok()) GTEST_SKIP() << found.status().message();
  for (const char* name : {"tnl-a", "tnl-p", "tnl3-a"}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const std::string directory = std::string(TNL_TEST_DATA) + "/" + name;
      const Device device = open({name, "cuda", "", dtype});
      const Model model = take(Model::load(directory, device));
      const VerifyTolerances tolerances =
          dtype == DType::kF32 ? VerifyTolerances{1e-4, 2e-4} : VerifyTolerances{0.05, 0.25};
      const auto results =
          take(verify_against_oracle(model, directory + "/oracle.safetensors", tolerances));
      EXPECT_GE(results.size(), 4u);
      for (const VerifiedTensor& result : results) {
        EXPECT_TRUE(result.ok()) << name << ", " << dtype_name(dtype) << ", " << result.name << ": "
                                 << result.error << " > " << result.tolerance;
      }
    }
  }
}

TEST(OracleFile, ADifferenceIsFound) {
  const std::string data = TNL_TEST_DATA;
  const Device device = take(Device::open("cpu", {.threads = 1}));
  const Model model = take(Model::load(data + "/tnl-a", device));
  auto* values = static_cast<float*>(model.parameters()[5].view.data);
  values[3] += 0.01f;
  const auto results = take(verify_against_oracle(model, data + "/tnl-a/oracle.safetensors"));
  int failed = 0;
  for (const VerifiedTensor& result : results) failed += result.ok() ? 0 : 1;
  EXPECT_GT(failed, 0);
}

TEST(OracleFile, OfAnotherModelIsAnError) {
  const std::string data = TNL_TEST_DATA;
  const Device device = take(Device::open("cpu", {.threads = 1}));
  const Model model = take(Model::load(data + "/tnl-p", device));
  const auto results = verify_against_oracle(model, data + "/tnl-a/oracle.safetensors");
  ASSERT_FALSE(results.ok());
  EXPECT_EQ(results.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(results.status().message().find("oracle.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace tnl
