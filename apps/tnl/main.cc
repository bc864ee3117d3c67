#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "tnl/cli.h"
#include "tnl/commands.h"

int main(int argc, char** argv) {
  using namespace tnl::command;
  CLI::App app{"Train and run TransNormerLLM: one speed, whatever the length of the text.", "tnl"};
  app.set_version_flag("--version", "tnl " TNL_VERSION);
  app.require_subcommand(1);
  app.fallthrough(false);
  add_bench(app);
  add_data(app);
  add_eval(app);
  add_generate(app);
  add_info(app);
  add_plot(app);
  add_tokenizer(app);
  add_train(app);
  add_verify(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitBadInput;
  } catch (const Exit& exit) {
    if (!exit.message.empty()) fmt::print(stderr, "tnl: {}\n", exit.message);
    return exit.status;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tnl: {}\n", error.what());
    return kExitFailed;
  }
  return kExitOk;
}
