# Everything comes from the distribution; tools/packages.txt lists the packages.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)

# oneDNN is looked up by hand: the distribution's dnnl-config.cmake insists on OpenCL headers that
# nothing here needs.
find_path(TNL_DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
find_library(TNL_DNNL_LIBRARY dnnl REQUIRED)
mark_as_advanced(TNL_DNNL_INCLUDE_DIR TNL_DNNL_LIBRARY)
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${TNL_DNNL_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${TNL_DNNL_INCLUDE_DIR})
# Its OpenMP is GNU's, whichever compiler builds this project: a second one beside it, as clang's
# own would be, would not take the number of threads we set for it. Both compilers find libgomp.
set_property(TARGET DNNL::dnnl PROPERTY INTERFACE_LINK_LIBRARIES gomp)
