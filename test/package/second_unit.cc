// A second unit that includes the API: a function that is not inline would be defined twice.
#include <prune/prune.h>
