// The operator for python/tnl/ops.py, which adds autograd and registers it.
#include <utility>

#include "attention_call.h"
#include "torch_lookup.h"

namespace tnl::python {

namespace {

// The settings of a call that nothing but autograd looks at, None for others.
nb::object plain_settings(nb::handle q, nb::handle k, nb::handle v, nb::handle log_decay,
                          nb::handle scale, nb::handle initial_state, nb::handle cu_seqlens,
                          nb::handle reverse) {
  const bool with_state = !initial_state.is_none();
  if (!(with_state ? is_plain({q, k, v, initial_state}) : is_plain({q, k, v}))) return nb::none();
  Settings settings(log_decay, scale, cu_seqlens, reverse);
  settings.autocast = is_autocast();
  settings.differentiate =
      with_state ? is_differentiated({q, k, v, initial_state}) : is_differentiated({q, k, v});
  return nb::cast(std::move(settings));
}

// The two methods of a torch.autograd.Function. In C++, because Python code would cost the host
// more than all the rest, above all in the threads where autograd runs the backward pass of a GPU.
struct FunctionNames {
  nb::object to_save = nb::str("to_save"), saved = nb::str("saved_tensors");
  nb::object settings = nb::str("settings"), materialize = nb::str("materialize_grads");
};
const FunctionNames& names() {
  static const auto& all = *new FunctionNames;  // the interpreter goes first
  return all;
}

void set(nb::handle object, nb::handle name, nb::handle value) {
  if (PyObject_SetAttr(object.ptr(), name.ptr(), value.ptr()) != 0) throw nb::python_error();
}
nb::object get(nb::handle object, nb::handle name) {
  PyObject* value = PyObject_GetAttr(object.ptr(), name.ptr());
  if (value == nullptr) throw nb::python_error();
  return nb::steal(value);
}

nb::tuple function_forward(nb::handle context, nb::handle settings, nb::handle output_final_state,
                           nb::handle q, nb::handle k, nb::handle v, nb::handle initial_state) {
  set(context, names().to_save, nb::make_tuple(q, k, v, initial_state));
  set(context, names().settings, settings);
  set(context, names().materialize, Py_False);
  return forward(nb::cast<const Settings&>(settings), q, k, v, initial_state, output_final_state);
}

nb::object function_backward(nb::handle context, nb::handle d_o, nb::handle d_final_state) {
  if (is_grad_enabled()) {  // create_graph: what Python's method returns raises when it is derived
    return context.attr("_forward_cls").attr("backward")(context, d_o, d_final_state);
  }
  const auto saved = nb::cast<nb::tuple>(get(context, names().saved));
  const nb::object settings = get(context, names().settings);
  const nb::object v = saved[2];
  const nb::object d_out = d_o.is_none() ? zeros_like(v) : nb::borrow(d_o);
  const GradientObjects gradients = backward(nb::cast<const Settings&>(settings), d_out,
                                             d_final_state, saved[0], saved[1], v, saved[3]);
  return nb::make_tuple(nb::none(), nb::none(), gradients.dq, gradients.dk, gradients.dv,
                        gradients.d_state);
}

}  // namespace

void bind_attention(nb::module_& module) {
  module.def("connect_torch", &connect_torch, nb::arg("torch"), nb::arg("host_copy"),
             nb::arg("exchange") = true);
  module.def(
      "is_plain",
      [](nb::handle q, nb::handle k, nb::handle v, nb::handle state) {
        return state.is_none() ? is_plain({q, k, v}) : is_plain({q, k, v, state});
      },
      nb::arg("q").none(), nb::arg("k").none(), nb::arg("v").none(), nb::arg("state").none());
  nb::class_<Settings>(module, "AttentionSettings",
                       "What a call has beside its tensors, held on the host.")
      .def(nb::init<nb::handle, nb::handle, nb::handle, nb::handle>(), nb::arg("log_decay").none(),
           nb::arg("scale").none(), nb::arg("cu_seqlens").none(), nb::arg("reverse").none())
      .def_ro("autocast", &Settings::autocast)
      .def_ro("differentiate", &Settings::differentiate);
  const auto optional = [](const char* name) { return nb::arg(name).none(); };
  module.def("plain_settings", &plain_settings, optional("q"), optional("k"), optional("v"),
             optional("log_decay"), optional("scale"), optional("initial_state"),
             optional("cu_seqlens"), optional("reverse"));
  module.def("attention_forward", &forward, nb::arg("settings"), optional("q"), optional("k"),
             optional("v"), optional("initial_state"), optional("output_final_state"));
  module.def(
      "attention_backward",
      [](const Settings& settings, nb::handle d_o, nb::handle d_final_state, nb::handle q,
         nb::handle k, nb::handle v, nb::handle initial_state) {
        const GradientObjects all = backward(settings, d_o, d_final_state, q, k, v, initial_state);
        return nb::make_tuple(all.dq, all.dk, all.dv, all.d_state);
      },
      nb::arg("settings"), optional("d_o"), optional("d_final_state"), optional("q"), optional("k"),
      optional("v"), optional("initial_state"));
  module.def("attention_step", &step, optional("q"), optional("k"), optional("v"),
             optional("log_decay"), optional("state"), optional("scale"), optional("state_slots"),
             optional("draft_k"), optional("draft_v"), optional("accepted"),
             optional("keep_state"));
  module.def("bare_forward", &bare_forward);
  module.def("bare_backward", &bare_backward);
  module.def("function_forward", &function_forward, nb::arg(), nb::arg(), optional("o"),
             optional("q"), optional("k"), optional("v"), optional("initial_state"));
  module.def("function_backward", &function_backward, nb::arg(), optional("d_o"),
             optional("d_final_state"));
  // As an attribute of a class it binds like a method.
  const nb::object method = module.attr("function_backward");
  module.attr("function_backward") = nb::steal(PyInstanceMethod_New(method.ptr()));
}

}  // namespace tnl::python
