// The exact k-th largest of very many keys, in passes over data that need not be in memory at once.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include <prune/order_key.h>

namespace prune {

// Keep every key above `key`, and the first `ties` of those equal to it.
template <class Key>
struct Threshold {
  Key key = 0;
  int64_t ties = 0;
};

// Radix selection, most significant digit first: each pass counts the keys that share the digits found so far
// by their next digit. It reads the data sizeof(Key) * 8 / 16 times (once for 8- and 16-bit keys), never
// moves it, and needs one histogram.
//
//   ThresholdSearch<Key> search(keep);
//   do { for each chunk: search.count(keys, n); } while (search.next_pass());
//   search.result();
//
// Exactly `keep` keys are above the threshold or among its ties, 1 <= keep <= number of keys counted in every
// pass. Several searches over parts of the data may count at once and be merged before next_pass().
template <class Key>
class ThresholdSearch {
  using Bits = std::make_unsigned_t<Key>;
  static constexpr int kKeyBits = sizeof(Key) * 8;
  static constexpr int kDigitBits = kKeyBits < 16 ? kKeyBits : 16;
  static constexpr Bits kSignBit = Bits(Bits(1) << (kKeyBits - 1));

 public:
  explicit ThresholdSearch(int64_t keep) : remaining_(keep), histogram_(size_t(1) << kDigitBits) {}

  void count(const Key* keys, Index n) {
    if (shift_ == kKeyBits - kDigitBits) {
      for (Index i = 0; i < n; ++i) ++histogram_[digit(keys[i])];
      return;
    }
    for (Index i = 0; i < n; ++i) {
      if (prefix_of(keys[i]) == prefix_) ++histogram_[digit(keys[i])];
    }
  }

  // A search in the same pass that has counted nothing yet: for another thread, to be merged.
  void forget_counts() { histogram_.assign(histogram_.size(), 0); }

  // Adds what another search over other data, in the same pass of the same job, has counted.
  void merge(const ThresholdSearch& other) {
    for (size_t i = 0; i < histogram_.size(); ++i) histogram_[i] += other.histogram_[i];
  }

  // Ends a pass. True when the data must be counted once more.
  bool next_pass() {
    size_t bin = histogram_.size() - 1;
    while (bin > 0 && histogram_[bin] < remaining_) remaining_ -= histogram_[bin--];
    prefix_ = Bits(kDigitBits == kKeyBits ? bin : Bits(prefix_ << (kDigitBits % kKeyBits)) | Bits(bin));
    if (shift_ == 0) return false;
    shift_ -= kDigitBits;
    histogram_.assign(histogram_.size(), 0);
    return true;
  }

  Threshold<Key> result() const { return {Key(prefix_ ^ kSignBit), remaining_}; }

 private:
  static Bits biased(Key key) { return Bits(Bits(key) ^ kSignBit); }  // unsigned order
  size_t digit(Key key) const { return size_t(biased(key) >> shift_) & (histogram_.size() - 1); }
  Bits prefix_of(Key key) const { return Bits(biased(key) >> shift_ >> kDigitBits); }

  int64_t remaining_;  // how many to keep among the keys that share prefix_
  int shift_ = kKeyBits - kDigitBits;
  Bits prefix_ = 0;
  std::vector<int64_t> histogram_;
};

}  // namespace prune
