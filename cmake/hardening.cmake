# Makes mistakes in this code harder to exploit, at a cost of 0 to 3 % in the benchmarks of the
# kernels. tests/rules/hardening_test.py looks for it in the program.
include(CheckCXXCompilerFlag)
include(CheckPIESupported)
check_pie_supported(OUTPUT_VARIABLE pie_problem LANGUAGES CXX)

# Each where the compiler has it: the last is for x86 alone.
foreach(flag stack-protector-strong stack-clash-protection cf-protection)
  string(MAKE_C_IDENTIFIER "MXFERRY_HAS_${flag}" has_flag)
  check_cxx_compiler_flag(-f${flag} ${has_flag})
  if(${has_flag})
    add_compile_options(-f${flag})
  endif()
endforeach()
add_compile_definitions(_GLIBCXX_ASSERTIONS)
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)

# Level 3 is of GCC 12. Not under sanitizers, which look at the same calls and would miss them; and
# it takes a build that is optimised. Systems may have set it to another level before.
if(NOT MXFERRY_SANITIZE)
  add_compile_options("$<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>")
endif()
