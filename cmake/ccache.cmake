# ccache, where it is installed and nothing else was asked for.
find_program(TNL_CCACHE ccache)
mark_as_advanced(TNL_CCACHE)
if(TNL_CCACHE AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TNL_CCACHE})
endif()
