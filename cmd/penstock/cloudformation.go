package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"
	"github.com/urfave/cli/v3"
)

// stackFlag names a CloudFormation stack whose outputs are the settings.
const stackFlag = "stack"

func (p *program) stackFlag() cli.Flag {
	return &cli.StringFlag{Name: stackFlag, Usage: "`NAME` of the CloudFormation stack whose outputs are the settings, in the place of the environment and of .penstock/env; all verbs take it that need settings"}
}

// stackNamed finds the flag in a command line. It must be known before all
// others are read, for it says what they are when they are not given.
func stackNamed(args []string) (name string, ok bool) {
	for i, arg := range args {
		if arg == "--" {
			return "", false
		}
		flag := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if flag == arg {
			continue
		}
		if value, has := strings.CutPrefix(flag, stackFlag+"="); has {
			return value, true
		}
		if flag == stackFlag && i+1 < len(args) {
			return args[i+1], true
		}
	}
	return "", false
}

// stackLimit bounds the look at a stack.
const stackLimit = 20 * time.Second

// useStack takes the settings from a stack.
func (p *program) useStack(ctx context.Context, name string) error {
	if name == "" {
		return usage("-%s: name a CloudFormation stack", stackFlag)
	}
	ctx, cancel := context.WithTimeout(ctx, stackLimit)
	defer cancel()
	outputs, err := p.outputs(ctx, name)
	if err != nil {
		return err
	}
	p.fromStack = map[string]string{}
	for key, value := range outputs {
		p.fromStack[stackVariable(key)] = value
	}
	return nil
}

// stackVariable is the variable of an output: QueueUrl is PENSTOCK_QUEUE_URL.
func stackVariable(output string) string {
	var b strings.Builder
	b.WriteString("PENSTOCK")
	for i, c := range output {
		if unicode.IsUpper(c) || i == 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(c))
	}
	return b.String()
}

// stackOutputs asks CloudFormation for the outputs of a stack.
func stackOutputs(ctx context.Context, name string) (map[string]string, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, usage("-%s: no AWS region is set: set AWS_REGION (for example AWS_REGION=eu-central-1), or a region for the profile in ~/.aws/config", stackFlag)
	}
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "ValidationError" {
		return nil, usage("-%s: %s, in %s; aws cloudformation list-stacks prints their names", stackFlag, api.ErrorMessage(), cfg.Region)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "AccessDenied" {
		return nil, fmt.Errorf("-%s: read the outputs of the stack %s: %w; these credentials need cloudformation:DescribeStacks", stackFlag, name, brief(err))
	}
	if err != nil {
		return nil, fmt.Errorf("-%s: read the outputs of the stack %s: %w", stackFlag, name, brief(err))
	}
	if len(out.Stacks) == 0 {
		return nil, usage("-%s: there is no stack %q in %s", stackFlag, name, cfg.Region)
	}
	outputs := map[string]string{}
	for _, o := range out.Stacks[0].Outputs {
		if o.OutputKey != nil && o.OutputValue != nil {
			outputs[*o.OutputKey] = *o.OutputValue
		}
	}
	if len(outputs) == 0 {
		return nil, usage("-%s: the stack %q has no outputs (it is %s); is it Penstock's, and complete?", stackFlag, name, out.Stacks[0].StackStatus)
	}
	return outputs, nil
}
