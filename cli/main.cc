#include "mxferry/version.h"
int main() { return 0; }
