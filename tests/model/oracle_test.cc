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

class Oracle : public testing::TestWithParam<OracleCase> {};

TEST_P(Oracle, Holds) {
  const std::string directory = std::string(TNL_TEST_DATA) + "/" + GetParam().model;
  const Device device =
      take(Device::open(GetParam().device, {.threads = 2, .cpu_target = GetParam().cpu_target}));
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
