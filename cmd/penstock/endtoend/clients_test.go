//go:build linux && verify

package endtoend

import "testing"

func TestTheAWSCommandLineIsServed(t *testing.T) {
	t.Parallel()
	served(t, "bash", "awscli_check.sh", python(t, "PENSTOCK_TEST_AWS"))
}

func TestTheSageMakerSDKsAsyncPredictorIsServed(t *testing.T) {
	t.Parallel()
	for name, variable := range map[string]string{"version 2": "PENSTOCK_TEST_SAGEMAKER2", "version 3": "PENSTOCK_TEST_SAGEMAKER3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			served(t, python(t, variable), "-W", "ignore", "sdk_check.py")
		})
	}
}
