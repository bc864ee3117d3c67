#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

#include <fmt/format.h>

#include "core/printable.h"
#include "tnl/cli.h"
#include "tnl/commands.h"

namespace {

// One line, whatever the names in it hold.
void say(std::string_view sentence) {
  fmt::print(stderr, "tnl: {}\n", tnl::printable(sentence, sentence.size()));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tnl::command;
  CLI::App app{"Train and run TransNormerLLM: one speed, whatever the length of the text.", "tnl"};
  app.set_version_flag("--version", "tnl " TNL_VERSION);
  app.require_subcommand(1);
  app.fallthrough(false);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("tnl: {}\nRun with --help for more information.\n",
                       tnl::printable(error.what(), std::string_view(error.what()).size()));
  });
  catch_file_signals();
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
    if (!exit.message.empty()) say(exit.message);
    return exit.status;
  } catch (const std::bad_alloc&) {
    say("out of memory");
    return kExitFailed;
  } catch (const std::exception& error) {
    say(error.what());
    return kExitFailed;
  }
  return kExitOk;
}
