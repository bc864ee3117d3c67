// Early return of errors: TNL_TRY(status_expression); TNL_ASSIGN(auto value, result_expression).
#pragma once

#include "tnl/status.h"

#define TNL_TRY(expression)                                                           \
  do {                                                                                \
    if (::tnl::Status tnl_status = (expression); !tnl_status.ok()) return tnl_status; \
  } while (0)

#define TNL_CONCAT_INNER(a, b) a##b
#define TNL_CONCAT(a, b) TNL_CONCAT_INNER(a, b)
#define TNL_ASSIGN(declaration, expression) \
  TNL_ASSIGN_IMPL(TNL_CONCAT(tnl_result_, __LINE__), declaration, expression)
#define TNL_ASSIGN_IMPL(result, declaration, expression) \
  auto result = (expression);                            \
  if (!result.ok()) return result.status();              \
  declaration = std::move(result).value()
