# tnl_target(NAME): the flags every target of the project shares.
function(tnl_target name)
  target_compile_options(${name} PRIVATE -Wall -Wextra $<$<BOOL:${TNL_WERROR}>:-Werror>)
  if(TNL_SANITIZE)
    target_compile_options(${name} PRIVATE -fsanitize=${TNL_SANITIZE} -fno-omit-frame-pointer
                                           -fno-sanitize-recover=all)
    target_link_options(${name} PRIVATE -fsanitize=${TNL_SANITIZE})
  endif()
endfunction()
