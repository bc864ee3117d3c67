# tnl_target(NAME): the flags every target of the project shares.
function(tnl_target name)
  # g++ 12 warns of overlaps inside std::string that cannot be (GCC bug 105651).
  target_compile_options(${name} PRIVATE -Wall -Wextra $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<BOOL:${TNL_WERROR}>:-Werror>)
  if(TNL_SANITIZE)
    target_compile_options(${name} PRIVATE -fsanitize=${TNL_SANITIZE} -fno-omit-frame-pointer
                                           -fno-sanitize-recover=all)
    target_link_options(${name} PRIVATE -fsanitize=${TNL_SANITIZE})
  endif()
  if(TNL_BUILD_FUZZERS)
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()
