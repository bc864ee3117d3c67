// Texts from the C++ engine: a model directory with its tokenizer, one running text, generation.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <utility>

#include "support.h"
#include "tnl/session.h"

namespace tnl::python {

namespace {

struct PythonSession {
  SharedDevice* device;
  std::shared_ptr<const Tokenizer> tokenizer;
  Session session;
};

PythonSession open(const std::string& directory, const std::string& device, int threads) {
  SharedDevice& shared = device_of(device, threads);
  const Working working(shared);
  const Model model = take(Model::load(directory, shared.device));
  return {&shared, take(load_tokenizer(directory)), take(Session::create(model))};
}

std::vector<std::int32_t> encode(const PythonSession& self, std::string_view text) {
  std::vector<std::int32_t> ids;
  check(self.tokenizer->encode(text, ids));
  return ids;
}

void feed(PythonSession& self, const std::vector<std::int32_t>& ids) {
  Status status;
  {
    const Working working(*self.device);
    status = self.session.feed(ids);
  }
  check(status);
}

// `emit` gets text as it becomes certain and may return False to stop; its exception ends the
// generation and is raised here.
std::string generate_text(PythonSession& self, std::int64_t max_tokens, double temperature,
                          std::int64_t top_k, double top_p, double min_p, double repetition_penalty,
                          std::uint64_t seed, const std::vector<std::string>& stop,
                          const nb::object& emit) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.stop = stop;
  options.sampler.temperature = temperature;
  options.sampler.top_k = top_k;
  options.sampler.top_p = top_p;
  options.sampler.min_p = min_p;
  options.sampler.repetition_penalty = repetition_penalty;
  options.sampler.seed = seed;
  std::string text;
  bool raised = false;
  Result<GenerateResult> result = Status();
  {
    const Working working(*self.device);
    result = generate(self.session, *self.tokenizer, options, [&](std::string_view part) {
      text.append(part);
      const nb::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() != 0) raised = true;
      if (raised || emit.is_none() || part.empty()) return !raised;
      const nb::str text_part(part.data(), part.size());
      PyObject* answer = PyObject_CallOneArg(emit.ptr(), text_part.ptr());
      raised = answer == nullptr;
      const bool go_on = !raised && answer != Py_False;
      Py_XDECREF(answer);
      return go_on;
    });
  }
  if (raised) throw nb::python_error();
  check(result.status());
  return text;
}

}  // namespace

void bind_session(nb::module_& module) {
  nb::class_<PythonSession>(module, "Session",
                            "One running text: a model directory, its tokenizer and the state.")
      .def_static("open", &open, nb::arg("directory"), nb::arg("device") = "cpu",
                  nb::arg("threads") = 0)
      .def("encode", &encode, nb::arg("text"), "The ids of `text`, without bos or eos.")
      .def("feed", &feed, nb::arg("ids"), "Reads tokens.")
      .def(
          "feed_text",
          [](PythonSession& self, std::string_view text) { feed(self, encode(self, text)); },
          nb::arg("text"), "Reads a text.")
      .def(
          "decode",
          [](const PythonSession& self, const std::vector<std::int32_t>& ids) {
            const std::string text = take(self.tokenizer->decode(ids));
            return nb::steal(
                PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
          },
          nb::arg("ids"))
      .def(
          "logits",
          [](const PythonSession& self) {
            const std::span<const float> logits = self.session.logits();
            return std::vector<float>(logits.begin(), logits.end());
          },
          "The prediction for the next token, one number a vocabulary entry; empty at the start.")
      .def("generate", &generate_text, nb::arg("max_tokens") = 256, nb::arg("temperature") = 1.0,
           nb::arg("top_k") = 0, nb::arg("top_p") = 1.0, nb::arg("min_p") = 0.0,
           nb::arg("repetition_penalty") = 1.0, nb::arg("seed") = 0,
           nb::arg("stop") = std::vector<std::string>(), nb::arg("emit") = nb::none(),
           "Continues the text and returns what was added.")
      .def(
          "score",
          [](PythonSession& self, const std::vector<std::int32_t>& ids) {
            std::vector<double> log_probabilities;
            Status status;
            {
              const Working working(*self.device);
              status = self.session.score(ids, log_probabilities);
            }
            check(status);
            return log_probabilities;
          },
          nb::arg("ids"), "Reads tokens; the natural-log probability each had before it was read.")
      .def(
          "fork",
          [](const PythonSession& self) {
            return PythonSession{self.device, self.tokenizer, take(self.session.fork())};
          },
          "An independent session that goes on from here.")
      .def("reset", [](PythonSession& self) { self.session.reset(); })
      .def_prop_ro("position", [](const PythonSession& self) { return self.session.position(); });
}

}  // namespace tnl::python
