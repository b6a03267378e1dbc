// What a CPU build of torch lacks for a device called cuda: a guard, which autograd asks for streams, and hooks that say
// whether there is a device. (The hooks have existed since torch was imported, and are replaced in their place.)
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <new>
using namespace c10;

static thread_local int64_t current_stream = 0;
static bool present = false;
static const Device device(DeviceType::CUDA, 0);

struct Guard : impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device exchangeDevice(Device) const override { return device; }
  Device getDevice() const override { return device; }
  Stream getStream(Device) const noexcept override { return Stream(Stream::UNSAFE, device, current_stream); }
  Stream exchangeStream(Stream stream) const noexcept override {
    auto before = getStream(device);
    current_stream = stream.id();
    return before;
  }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
};

struct Hooks : at::CUDAHooksInterface {
  void init() const override {}
  bool hasCUDA() const override { return present; }
  bool isBuilt() const override { return present; }
  bool isAvailable() const override { return present; }
  bool hasPrimaryContext(DeviceIndex) const override { return present; }
  DeviceIndex deviceCount() const override { return present ? 1 : 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
};
static_assert(sizeof(Hooks) == sizeof(at::CUDAHooksInterface));

namespace c10::impl {
C10_REGISTER_GUARD_IMPL(CUDA, Guard)
}
static auto* hooks = new (const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks())) Hooks;

extern "C" int64_t get_stream() { return current_stream; }
extern "C" void set_stream(int64_t id) { current_stream = id; }
extern "C" void set_present(bool value) { present = value; }
